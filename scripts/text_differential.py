#!/usr/bin/env python3
"""The decoder of text beside a push gateway, prometheus_client and promtool. See text_differential.sh."""

import argparse
import base64
import collections
import http.client
import json
import math
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open_metrics
from prometheus_client.parser import text_string_to_metric_families as read_text

ARRIVAL = '2026-01-02T03:04:05.678Z'


class Decoder:
    """The example `decode`, which reads one body after another."""

    def __init__(self, program, protocol):
        self.process = subprocess.Popen([program, protocol, '--framed'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def decode(self, body):
        """Returns the stored metrics and the report, or None if the body is refused."""
        self.process.stdin.write(b'%d\n' % len(body) + body)
        self.process.stdin.flush()
        stored = []
        while True:
            line = json.loads(self.process.stdout.readline())
            if 'timestamp' not in line:
                return None if 'error' in line else (stored, line)
            stored.append(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)


class PushGateway:
    """A push gateway on the loopback."""

    def __init__(self):
        with socket.create_server(('127.0.0.1', 0)) as probe:
            self.port = probe.getsockname()[1]
        # Without a file, as Debian's keeps one by default.
        command = ['prometheus-pushgateway', f'--web.listen-address=127.0.0.1:{self.port}', "--persistence.file="]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.request('GET', '/-/ready')
                return
            except OSError:
                if time.monotonic() > deadline:
                    self.end()
                    raise
                time.sleep(0.05)

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def put(self, path, body):
        """Returns None if the body does not parse, else whether it is stored."""
        status, text = self.request('PUT', path, body)
        if status == 200:
            return True
        if status == 400 and b'pushed metrics are invalid or inconsistent' in text:
            return False
        return None

    def groups(self):
        return json.loads(self.request('GET', '/api/v1/metrics')[1])['data']

    def wipe(self, groups):
        for group in groups:
            path = '/metrics'
            for name, value in sorted(group['labels'].items(), key=lambda label: label[0] != 'job'):
                encoded = base64.urlsafe_b64encode(value.encode()).decode()
                path += f'/{name}@base64/{encoded or "="}'
            self.request('DELETE', path)

    def end(self):
        self.process.terminate()
        self.process.wait(timeout=20)


class Differences:
    """Counts of the differences by kind, and the unexpected ones."""

    def __init__(self):
        self.known = collections.Counter()
        self.unknown = []

    def add(self, oracle, body, kind, ours, theirs):
        if kind:
            self.known[f'{oracle}: {kind}'] += 1
        else:
            self.unknown.append(f'{oracle}: {body!r}\n    ours   {ours}\n    theirs {theirs}')


def same(one, other):
    return one == other or (math.isnan(one) and math.isnan(other))


def value_of(line):
    return float(line['value'])


def labels_of(labels):
    """Labels as they are stored: without empty values, and with one spelling of bounds."""
    kept = {name: value for name, value in labels.items() if value != ''}
    for name in {'le', 'quantile'} & kept.keys():
        try:
            kept[name] = float(kept[name])
        except ValueError:
            pass
    return kept


# ---- lines -----------------------------------------------------------------------------------------------------------

NAMES = ['m', 'a_b', ':x:y', '_1', 'h_bucket', 'c_total', 'go_gc_duration_seconds']
LABELS = ['a', 'b', 'le', 'quantile', '_c', 'job', 'path', 'a1']
TEXTS = ['x', '1', '0.5', '+Inf', 'a b', '\\\\', '\\"', '\\n', 'é', '}', '{', ',', '=', '#', '', '/var/tmp', '\t',
         ' # ']
VALUES = ['1', '0', '-1.5', '1e10', '1.800784e+06', 'NaN', '+Inf', '-Inf', 'Inf', '.5', '5.', '+3', '007', '1E5', 'nan',
          'infinity', '123456789012345678', '0x1p-2', '1_0', '1e999', '-0', '1e-400', '+NaN', '--1', 'x', '']
ENDS = ['', '', '', ' ']
BYTES = b' \t"\\{}=,#\n\r0a.+-_e:\x00\xc3\xa9x'


def value_text(rng):
    return rng.choice(VALUES[:VALUES.index('0x1p-2')] if rng.random() < 0.85 else VALUES)


def label_set(rng, blank, has_quoted):
    parts = []
    for _ in range(rng.randrange(4)):
        name = rng.choice(LABELS)
        if has_quoted and rng.random() < 0.1:
            name = rng.choice(['"a.b"', '"a b"', '"a\\"b"'])
        text = ''.join(rng.choice(TEXTS) for _ in range(rng.randrange(3)))
        parts.append(f'{name}{blank()}={blank()}"{text}"')
    return f'{{{blank()}{(blank() + "," + blank()).join(parts)}{rng.choice(["", "", ","]) if parts else ""}{blank()}}}'


def mutate(rng, line):
    line = bytearray(line)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(line))
        byte = rng.choice(BYTES)
        change = rng.randrange(3)
        if change == 0:
            line[at] = byte
        elif change == 1:
            line.insert(at, byte)
        elif len(line) > 1:
            del line[at]
    # One line each: what a line feed does is known, and the line behind it would be another case.
    return bytes(line).replace(b'\n', b'')


def prometheus_line(rng, has_quoted):
    def blank():
        return rng.choice(['', '', '', ' ', '\t', '  '])

    name = rng.choice(NAMES)
    labels = label_set(rng, blank, has_quoted) if rng.random() < 0.6 else ''
    time_text = rng.choice([''] * 20 + [' 1395066363000', '\t0', ' -5', ' 1.5', ' 99999999999999999999', ' x', ' 1 2'])
    gap = rng.choice([' ', ' ', '\t', '  ']) if not labels else blank()
    labelled = f'{name}{blank() if labels else ""}{labels}'
    line = f'{blank()}{labelled}{gap}{value_text(rng)}{time_text}{rng.choice(ENDS)}'.encode()
    return mutate(rng, line) if rng.random() < 0.5 else line


def open_metrics_line(rng, has_quoted, needs_time):
    labels = label_set(rng, str, has_quoted) if rng.random() < 0.6 else ''
    times = [' 1395066363', ' 1.5', ' 1395066363.455', ' 1e9', ' -5.0005', ' 123456789.123456']
    time_text = rng.choice(times if needs_time else times + [''] * 6 + [' NaN', ' x', ' +Inf'])
    exemplar = rng.choice([''] * 6 + [' # {} 1', ' # {a="x"} 0.5', ' # {a="x",b="}"} 1 1.5', ' # {a} 1', ' # 1'])
    line = f'{rng.choice(NAMES)}{labels} {value_text(rng)}{time_text}{exemplar}'.encode()
    return mutate(rng, line) if rng.random() < 0.5 else line


# ---- oracles ---------------------------------------------------------------------------------------------------------

def compare_push_gateway(rng, decoder, gateway, cases, differences):
    """Lines of the exposition format, one a body."""
    accepted = 0
    for _ in range(cases):
        line = prometheus_line(rng, has_quoted=False)
        kind = rng.choice(['untyped', 'untyped', 'counter', 'gauge'])
        name = line.strip(b' \t').split(b'{')[0].split(b' ')[0].split(b'\t')[0]
        header = b'# TYPE %s %s\n' % (name, kind.encode()) if re.fullmatch(rb'[a-zA-Z_:][a-zA-Z0-9_:]*', name) else b''
        body = header + line + b'\n'
        stored, report = decoder.decode(b'/metrics/job/j\n' + body)
        theirs = gateway.put('/metrics/job/j', body)
        is_ours = not report['rejected']
        if is_ours != (theirs is not None):
            differences.add('push gateway', body, known_of_push_gateway(line, report, is_ours), report, theirs)
            continue
        if not theirs or not stored:
            continue
        accepted += 1
        found = [
            (name, family['type'].lower(), labels_of(metric['labels']), float(metric['value']))
            for group in gateway.groups() for name, family in group.items()
            if isinstance(family, dict) and name not in ('labels', 'push_time_seconds', 'push_failure_time_seconds')
            for metric in family['metrics']
        ]
        metric = stored[0]
        ours = (metric['name'], metric['type'], labels_of(metric['tags']), value_of(metric))
        if len(found) != 1 or found[0][:3] != ours[:3] or not same(found[0][3], ours[3]):
            differences.add('push gateway', body, None, ours, found)
    gateway.wipe(gateway.groups())
    return accepted


def known_of_push_gateway(line, report, is_ours):
    if is_ours:
        if re.search(rb'\\[^\\"n]', line):
            return 'a backslash before another character is a backslash'
        if re.search(rb'[ \t\r]$', line):
            return 'blanks and a carriage return at the end of a line'
        if b'"' in line.split(b'=')[0]:
            return 'quoted names'
        if not is_utf_8(line):
            return 'labels that are empty, or replaced by the path, and not UTF-8'
        return known_repeat(line)
    if re.match(rb'[ \t]*[a-zA-Z_:][a-zA-Z0-9_:]*[^a-zA-Z0-9_: \t{]', line):
        return 'a value stands apart from the name'
    if 'timestamp' in report['rejected']:
        return 'a timestamp of the year 10000'
    return None


def compare_client(rng, decoder, read, make, eof, oracle, known, cases, differences):
    """Lines of a format and the parser of prometheus_client."""
    accepted = 0
    for _ in range(cases):
        line = make(rng)
        body = line + b'\n' + eof
        stored, report = decoder.decode(body)
        try:
            samples = [sample for family in read(body.decode()) for sample in family.samples]
        except Exception as error:  # It raises whatever comes: ValueError, IndexError, AttributeError.
            samples = error
        is_ours = not report['rejected']
        if is_ours != isinstance(samples, list):
            differences.add(oracle, body, known(line, is_ours), report, samples)
            continue
        if not is_ours or len(stored) != len(samples):
            if is_ours:
                differences.add(oracle, body, known(line, is_ours), report, samples)
            continue
        accepted += 1
        for metric, sample in zip(stored, samples):
            time_ms = None if sample.timestamp is None else float(sample.timestamp) * 1000
            ours = (metric['name'], labels_of(metric['tags']), value_of(metric))
            theirs = (sample.name, labels_of(sample.labels), float(sample.value))
            is_same = ours[:2] == theirs[:2] and same(ours[2], theirs[2])
            is_same = is_same and is_same_time(metric['timestamp'], time_ms)
            if not is_same:
                differences.add(oracle, body, known(line, None), metric, sample)
    return accepted


def is_same_time(text, time_ms):
    if time_ms is None:
        return text == ARRIVAL
    match = re.fullmatch(r'(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{3})Z', text)
    year, month, day, hour, minute, second, ms = map(int, match.groups())
    # Days since 1970 in the proleptic Gregorian calendar, which begins with the year 0 here.
    year, month = (year - 1, month + 12) if month < 3 else (year, month)
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719469
    ours = ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + ms
    return abs(ours - math.floor(time_ms)) <= 1


def known_of_text_client(line, is_ours):
    if not is_ours:
        return 'it is laxer, by its own documentation'
    if not is_utf_8(line):
        return 'comments, and labels with an empty value, that are not UTF-8'
    return known_repeat(line) or known_equals_sign(line) or known_reserved(line)


def label_names(line):
    return re.findall(rb'([a-zA-Z0-9_]+|"[^"]*")[ \t]*=[ \t]*"(?:[^"\\]|\\.)*"', line)


def known_reserved(line):
    """Such a label is refused where it is made, and so where it is read; Prometheus and the push gateway take it."""
    is_reserved = any(name.strip(b'"').startswith(b'__') for name in label_names(line))
    return 'a label whose name begins with two underscores' if is_reserved else None


def known_repeat(line):
    """A repeated label of which one value is empty is not noticed: such a one is no label."""
    names = label_names(line)
    if names.count(b'job') > 1:
        return 'a repeated label that the path replaces'
    if b'""' in line and len(names) != len(set(names)):
        return 'a repeated label with an empty value'
    return None


def known_equals_sign(line):
    """One that is all of a value behind another label."""
    return 'it splits labels at the equals sign of a value' if b'"="' in line else None


def is_utf_8(line):
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


# A sample by the grammar of OpenMetrics 1.0, with the quoted names that came later.
QUOTED = r'"(?:[^"\\\n]|\\.)*"'
REAL = r'[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?'
LABEL = rf'(?:[a-z_][a-z0-9_]*|{QUOTED})={QUOTED}'
IN_BRACES = rf'(?:{LABEL}(?:,{LABEL})*)?'
NUMBER = rf'(?:{REAL}|[+-]?inf(?:inity)?|nan)'
SERIES = rf'(?:[a-z_:][a-z0-9_:]*(?:\{{{IN_BRACES}\}})?|\{{{QUOTED}(?:,{LABEL})*\}})'
EXEMPLAR = rf' # \{{{IN_BRACES}\}} {NUMBER}(?: {REAL})?'
OPEN_METRICS = re.compile(
    rf'{SERIES} (?P<value>{NUMBER})(?: (?P<time>{REAL}))?(?:{EXEMPLAR})?'.encode(), re.IGNORECASE)


def known_of_open_metrics_client(line, is_ours):
    if is_ours:
        if line.startswith(b'#') or not line:
            return 'comments and blank lines'
        if b' # {' in line:
            return 'exemplars of other samples than counters and buckets'
        if b',}' in line:
            return 'a comma behind the last label'
        if re.search(rb'\\[^\\"n]', line):
            return 'a backslash before another character is a backslash'
        return known_repeat(line) or known_equals_sign(line)
    sample = OPEN_METRICS.fullmatch(line)
    if sample is None:
        return 'it is laxer than the grammar of OpenMetrics'
    if math.isinf(float(sample['value'])) and b'i' not in sample['value'].lower():
        return 'numbers that ParseFloat refuses'
    if sample['time'] and not -62_167_219_200 <= float(sample['time']) < 253_402_300_800:
        return 'a timestamp of the year 10000'
    return None


def compare_promtool(rng, decoder, cases, differences):
    """Lines of OpenMetrics, which promtool makes blocks of: they need a timestamp."""
    accepted = 0
    for _ in range(cases):
        line = open_metrics_line(rng, has_quoted=False, needs_time=True)
        body = line + b'\n# EOF\n'
        stored, report = decoder.decode(body)
        with tempfile.TemporaryDirectory() as directory:
            with open(f'{directory}/text', 'wb') as file:
                file.write(body)
            command = ['promtool', 'tsdb', 'create-blocks-from', 'openmetrics', f'{directory}/text', f'{directory}/out']
            run = subprocess.run(command, capture_output=True, timeout=120)
        is_ours, is_theirs = not report['rejected'], run.returncode == 0
        accepted += is_ours and is_theirs
        if is_ours != is_theirs:
            differences.add('promtool', body, known_of_promtool(line, is_ours, run.stderr), report, run.stderr)
    return accepted


def known_of_promtool(line, is_ours, error):
    if is_ours and (line.startswith(b'#') or not line):
        return 'comments and blank lines'
    if is_ours and b'does not support exemplars' in error:
        return 'exemplars of other samples than counters and buckets'
    if is_ours and b'expected timestamp for series got none' in error:
        return 'a change has left no timestamp'
    if is_ours and b',}' in line and b'got "BCLOSE"' in error:
        return 'a comma behind the last label, which later ones take'
    if is_ours and re.search(rb'\\[^\\"n]', line):
        return 'a backslash before another character is a backslash'
    return None


def compare_paths(rng, decoder, gateway, cases, differences):
    """Paths of the push gateway."""
    names = ['l', 'job', 'a_1', '1a', '__x', 'a.b', 'path']
    values = ['x', 'a%20b', 'L3Zhci90bXA', 'YQ==', '=', '%3D', 'a+b', '%CE%A0', '4pyT', '8J-Ygg', 'Y', 'Y+', '%41',
              'YR', 'x@base64']
    accepted = 0
    for _ in range(cases):
        path = '/metrics/job'
        for index in range(rng.choice([1, 1, 2, 2, 3])):
            name = '' if index == 0 else '/' + rng.choice(names)
            # Not of the job: Debian's push gateway 1.5 mostly does not respond to these.
            suffix = '' if index == 0 else rng.choice(['', '@base64'])
            path += f'{name}{suffix}/{rng.choice(values)}'
        if rng.random() < 0.2:
            path += rng.choice(['/', '/l', '/l/', '/job/x'])
        ours = decoder.decode(path.encode() + b'\nm 1\n')
        status, text = gateway.request('PUT', path, b'm 1\n')
        if (ours is not None) != (status == 200):
            differences.add('paths', path, None, ours, (status, text))
            continue
        if ours is None:
            continue
        accepted += 1
        groups = gateway.groups()
        theirs = [labels_of(group['labels']) for group in groups]
        if theirs != [ours[0][0]['tags']]:
            differences.add('paths', path, None, ours[0][0]['tags'], theirs)
        gateway.wipe(groups)
    return accepted


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('decode')
    parser.add_argument('--cases', type=int, default=3000)
    parser.add_argument('--seed', type=int, default=1)
    arguments = parser.parse_args()
    cases, rng, differences = arguments.cases, random.Random(arguments.seed), Differences()
    decoders = {name: Decoder(arguments.decode, name) for name in ('text', 'openmetrics', 'pushgateway')}
    gateway = PushGateway()
    try:
        accepted = {
            'push gateway': compare_push_gateway(rng, decoders['pushgateway'], gateway, cases, differences),
            'paths': compare_paths(rng, decoders['pushgateway'], gateway, cases, differences),
            'prometheus_client': compare_client(
                rng, decoders['text'], read_text, lambda rng: prometheus_line(rng, has_quoted=True), b'',
                'prometheus_client', known_of_text_client, cases, differences),
            'prometheus_client, OpenMetrics': compare_client(
                rng, decoders['openmetrics'], read_open_metrics,
                lambda rng: open_metrics_line(rng, has_quoted=True, needs_time=False), b'# EOF\n',
                'prometheus_client, OpenMetrics', known_of_open_metrics_client, cases, differences),
            'promtool': compare_promtool(rng, decoders['openmetrics'], cases // 20, differences),
        }
    finally:
        gateway.end()
        for decoder in decoders.values():
            decoder.end()
    for oracle, count in accepted.items():
        print(f'{oracle}: {count} accepted by both and the same')
    for kind, count in sorted(differences.known.items()):
        print(f'known difference, {count} times: {kind}')
    for difference in differences.unknown[:40]:
        print(f'DIFFERENCE, {difference}')
    print(f'{len(differences.unknown)} differences that are not known, seed {arguments.seed}')
    return 1 if differences.unknown else 0


if __name__ == '__main__':
    sys.exit(main())
