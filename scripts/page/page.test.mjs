// Tests of what the page computes before it draws: `node --test scripts/page/`.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';
import { load, plain } from './assets.mjs';

const { format, scale, store, stream, ask, flame } = load();

test('an unknown number is a dash and never zero', () => {
    for (const show of [
        format.count,
        format.rate,
        format.bytes,
        format.byteRate,
        format.duration,
        format.span,
        format.percent,
        format.exact,
        format.value,
        format.clock,
    ]) {
        for (const unknown of [null, undefined, NaN, Infinity, '7']) assert.equal(show(unknown), '–');
        assert.match(show(0), /0/);
    }
});

test('counts have three digits and the prefixes of SI', () => {
    const cases = {
        0: '0',
        7: '7',
        7.25: '7.25',
        99.96: '100',
        999: '999',
        1000: '1.00 k',
        1049: '1.05 k',
        12345: '12.3 k',
        999499: '999 k',
        999500: '1.00 M',
        1e9: '1.00 G',
        '-1500': '-1.50 k',
        0.5: '0.50',
        0.004: '0.0040',
        1e21: '1000 E',
    };
    for (const [number, text] of Object.entries(cases)) assert.equal(format.count(Number(number)), text, number);
    assert.equal(format.rate(12), '12 /s');
    assert.equal(format.rate(12000), '12.0 k/s');
});

test('bytes have binary prefixes and stay under five characters', () => {
    const cases = {
        0: '0 B',
        999: '999 B',
        1000: '0.98 KiB',
        1024: '1.00 KiB',
        1536: '1.50 KiB',
        1048576: '1.00 MiB',
        1023488: '0.98 MiB',
        1073741824: '1.00 GiB',
    };
    for (const [number, text] of Object.entries(cases)) assert.equal(format.bytes(Number(number)), text, number);
    for (let size = 1; size < 2 ** 60; size *= 1.7)
        assert.ok(format.bytes(size).split(' ')[0].length <= 5, format.bytes(size));
});

test('durations change their unit where a thousand would be rounded to', () => {
    const cases = {
        0: '0 µs',
        12: '12 µs',
        12.34: '12.3 µs',
        999: '999 µs',
        999.7: '1.00 ms',
        1500: '1.50 ms',
        999600: '1.00 s',
        59e6: '59.0 s',
        61e6: '1 min 1 s',
    };
    for (const [us, text] of Object.entries(cases)) assert.equal(format.duration(Number(us)), text, us);
    assert.equal(format.span(90061), '1 d 1 h');
    assert.equal(format.span(3600), '1 h');
    assert.equal(format.span(59.6), '1 min');
});

test('ticks lose only zeros behind the point', () => {
    const cases = {
        '40.0 k': '40 k',
        '1.50 M': '1.5 M',
        '100 µs': '100 µs',
        '1.00 ms': '1 ms',
        '96.0 MiB': '96 MiB',
        '0.50': '0.5',
        10.5: '10.5',
        100: '100',
        '50 %': '50 %',
    };
    for (const [text, short] of Object.entries(cases)) assert.equal(format.short(text), short);
    assert.equal(format.exact(4823947234), '4\u202f823\u202f947\u202f234');
});

test('linear ticks are round and hold the values', () => {
    assert.deepEqual(plain(scale.linear(0, 97, 4).ticks), [0, 50, 100]);
    assert.deepEqual(plain(scale.linear(0, 0, 4).ticks), [0, 0.5, 1]);
    assert.deepEqual(plain(scale.linear(0, 3 * 1024, 4, true).ticks), [0, 1024, 2048, 3072]);
    for (let high = 0.001; high < 1e12; high *= 3.3) {
        const { min, max, ticks } = scale.linear(0, high, 4);
        assert.ok(min <= 0 && max >= high && ticks.length >= 2 && ticks.length <= 7, `${high}: ${ticks}`);
    }
    const { min, max } = scale.linear(-3, 9, 4);
    assert.ok(min <= -3 && max >= 9);
});

test('logarithmic ticks are decades, with steps between few', () => {
    assert.deepEqual(plain(scale.log(12, 800)), { min: 10, max: 1000, ticks: [10, 20, 50, 100, 200, 500, 1000] });
    assert.deepEqual(plain(scale.log(3, 5e6).ticks), [1, 10, 100, 1000, 10000, 100000, 1000000, 10000000]);
    assert.deepEqual(plain(scale.log(10, 10)).max, 100);
});

test('time ticks are round in local time, also when clocks change', () => {
    const utc = () => 0;
    const { step, ticks } = scale.time(1_000_000_030_000, 1_000_000_630_000, 5, utc);
    assert.equal(step, 120000);
    assert.ok(ticks.length >= 4 && ticks.every((t) => t % 120000 === 0));
    // India is half an hour beside the hours of UTC.
    for (const t of scale.time(0, 86400e3, 4, () => -330).ticks) assert.equal((t + 330 * 60000) % (6 * 3600e3), 0);
    // Clocks go back an hour at noon of the second day: ticks of a day stay at midnight.
    const change = 1.5 * 86400e3;
    for (const t of scale.time(0, 4 * 86400e3, 4, (ms) => (ms < change ? -120 : -60)).ticks) {
        assert.equal((t + (t < change ? 120 : 60) * 60000) % 86400e3, 0);
    }
});

test('a missing point is a gap, a late one is none', () => {
    const times = [0, 1000, 2100, 6000, 7000];
    assert.deepEqual(plain(scale.gaps(times, 1000, 0, 7000)), [[2100, 5000]]);
    assert.deepEqual(plain(scale.gaps(times, 1000, 3000, 4000)), [[3000, 4000]], 'cut to what is shown');
    assert.deepEqual(plain(scale.gaps(times, 1000, 0, 9000)), [[2100, 5000]], 'the next point may be on its way');
    assert.deepEqual(plain(scale.gaps(times, 1000, 0, 20000)), [
        [2100, 5000],
        [7000, 20000],
    ]);
    assert.deepEqual(plain(scale.gaps([], 1000, 0, 20000)), [], 'nothing is known of the time before the first point');
});

test('runs end at gaps and at unknown values', () => {
    assert.deepEqual(plain(scale.runs([0, 1, 2, 10, 11], [5, 5, 5, 5, 5], 1)), [
        [0, 3],
        [3, 5],
    ]);
    assert.deepEqual(
        plain(scale.runs([0, 1, 2, 3], [5, null, 0, NaN], 1)),
        [
            [0, 1],
            [2, 3],
        ],
        '0 is known',
    );
    assert.deepEqual(plain(scale.runs([0, 5, 99], [1, 1, 1], 0)), [[0, 3]], 'without a step there are no gaps');
});

test('fewer points keep every peak and the ends', () => {
    const times = Array.from({ length: 10000 }, (_, index) => index),
        values = times.map((t) => Math.sin(t / 50));
    values[4321] = 99;
    values[4322] = -99;
    const kept = plain(scale.downsample(times, values, 0, 10000, 0, 9999, 300));
    assert.ok(kept.length <= 4 * 301);
    assert.ok(kept.includes(4321) && kept.includes(4322) && kept[0] === 0 && kept[kept.length - 1] === 9999);
    assert.deepEqual(
        kept,
        [...new Set(kept)].sort((a, b) => a - b),
    );
    assert.deepEqual(plain(scale.downsample([1, 2, 3], [1, 2, 3], 0, 3, 0, 4, 100)), [0, 1, 2]);
});

test('layers add up, and an unknown one hides no other', () => {
    assert.deepEqual(
        plain(
            scale.stacked([
                [1, null, null],
                [2, 3, null],
            ]),
        ),
        [
            [1, 0, null],
            [3, 3, null],
        ],
    );
});

test('the nearest point is found', () => {
    assert.deepEqual(
        [-5, 4, 6, 50].map((t) => scale.nearest([0, 10, 20], t)),
        [0, 0, 1, 2],
    );
    assert.equal(scale.nearest([], 1), -1);
    assert.equal(scale.interval([0, 10, 20, 500, 510]), 10);
});

test('the store keeps points sorted, once and bounded', () => {
    const state = store.create();
    store.apply(state, { type: 'hello', start_id: 'a', now_ms: 1000 }, 400);
    assert.equal(state.skew_ms, 600);
    store.apply(state, {
        type: 'history',
        step_s: 1,
        points: [{ t_ms: 3000 }, { t_ms: 1000 }, { t_ms: 2000, requests: 1 }],
    });
    store.apply(state, { type: 'point', step_s: 1, point: { t_ms: 2000, requests: 2 } });
    assert.deepEqual(plain(state.points[1].map(({ t_ms }) => t_ms)), [1000, 2000, 3000]);
    assert.equal(state.points[1][1].requests, 2);
    for (let t = 4000; t < 3_000_000; t += 1000) store.apply(state, { type: 'point', step_s: 1, point: { t_ms: t } });
    assert.equal(state.points[1].length, 600);
    assert.ok(!store.apply(state, { type: 'of a later version' }) && !store.apply(state, null));
    assert.ok(store.apply(state, { type: 'point', step_s: 1, point: null }), 'a point of nothing is no point');
});

test('a restart is seen by its id, and the points before it stay', () => {
    const state = store.create();
    store.apply(state, { type: 'hello', start_id: 'a', now_ms: 1000 });
    store.apply(state, { type: 'point', step_s: 1, point: { t_ms: 1000 } });
    store.apply(state, { type: 'hello', start_id: 'a', now_ms: 2000 });
    assert.deepEqual(plain(state.restarts), []);
    store.apply(state, { type: 'hello', start_id: 'b', now_ms: 9000 });
    assert.deepEqual(plain(state.restarts), [9000]);
    assert.equal(state.points[1].length, 1);
});

test('a snapshot brings another store to the same state', () => {
    const state = store.create(),
        other = store.create();
    assert.deepEqual(plain(store.snapshot(state)), []);
    store.apply(state, { type: 'hello', start_id: 'a', now_ms: Date.now() });
    store.apply(state, { type: 'history', step_s: 60, points: [{ t_ms: 60000 }] });
    store.apply(state, { type: 'who', refusals: [] });
    store.apply(state, { type: 'marks', marks: [{ mark: 1, name: 'run', from_ms: 1, to_ms: null }] });
    for (const line of store.snapshot(state)) store.apply(other, line);
    assert.deepEqual(plain(other.points), plain(state.points));
    assert.deepEqual(plain(other.who), plain(state.who));
    assert.deepEqual(plain(other.marks), plain(state.marks));
});

test('marks are replaced by their server, and kept when another takes its place', () => {
    const state = store.create();
    const marks = (...some) => store.apply(state, { type: 'marks', marks: some });
    store.apply(state, { type: 'hello', start_id: 'a', now_ms: 1000 });
    store.apply(state, { type: 'point', step_s: 1, point: { t_ms: 5000 } });
    marks({ mark: 1, name: 'first', from_ms: 1000, to_ms: null });
    marks(
        { mark: 1, name: 'first', from_ms: 1000, to_ms: 2000 },
        { mark: 2, name: 'cut off', from_ms: 3000, to_ms: null },
    );
    assert.deepEqual(plain(state.marks).map(({ to_ms }) => to_ms), [2000, null]);
    store.apply(state, { type: 'hello', start_id: 'b', now_ms: 9000 });
    marks({ mark: 1, name: 'next', from_ms: 9500, to_ms: null });
    assert.deepEqual(plain(state.marks).map(({ name, to_ms }) => [name, to_ms]), [
        ['first', 2000],
        ['cut off', 5000],
        ['next', null],
    ]);
});

test('spans that overlap have rows of their own', () => {
    const span = (begin, end) => ({ begin, end });
    const spans = [span(0, 10), span(5, 20), span(8, 9), span(10, 12), span(30, 40)];
    assert.deepEqual(plain(scale.rows(spans)), [0, 1, 2, 0, 0]);
    assert.deepEqual(plain(scale.rows([])), []);
});

test('a stream cut anywhere gives the same lines', () => {
    const text = '{"a":1}\n\n{"b":"ä"}\n{"c":3}\n';
    for (let cut = 0; cut <= text.length; cut += 1) {
        const split = stream.splitter();
        assert.deepEqual(plain([...split(text.slice(0, cut)), ...split(text.slice(cut))]), [
            '{"a":1}',
            '{"b":"ä"}',
            '{"c":3}',
        ]);
    }
    assert.throws(() => stream.splitter(10)('x'.repeat(11)), /too long/);
});

test('retries wait longer up to a bound, and differ', () => {
    assert.ok(stream.backoff(0, 0) < stream.backoff(0, 1) && stream.backoff(3, 0.5) > stream.backoff(1, 0.5));
    assert.equal(stream.backoff(99, 0.5), stream.backoff(1000, 0.5));
});

test('times and spans of a query are those of QUERY.md', () => {
    const at = 1_700_000_000_000;
    const cases = {
        now: at,
        '-15m': at - 900e3,
        '-1h30m': at - 5400e3,
        '+5m': at + 300e3,
        1767323045678: 1767323045678,
        1767323045: 1767323045000,
        '2026-01-02T03:04:05Z': 1767323045000,
    };
    for (const [text, ms] of Object.entries(cases)) assert.equal(ask.timeOf(text, at), ms, text);
    for (const text of ['', 'x', '-', '-5', '-5x', '12345']) assert.equal(ask.timeOf(text, at), null, text);
    assert.deepEqual([500, 90e3, 3600e3, 60e3, 86400e3].map(ask.stepText), ['500ms', '90s', '1h', '1m', '1d']);
    assert.equal(scale.bucket(3600e3, 240), 15000);
});

test('parameters survive the hash, commands the shell', () => {
    const parameters = [
        ['name', '~cpu.+'],
        ['tag.zone', "a&b=c'd"],
        ['tag.host!', '~web 1'],
        ['by', 'host,dc'],
    ];
    assert.deepEqual(plain(ask.decode(ask.encode(parameters))), parameters);
    assert.deepEqual(plain(ask.decode('a=1+2&b&=&c=%zz')), [
        ['a', '1 2'],
        ['b', ''],
        ['', ''],
        ['c', '%zz'],
    ]);
    assert.equal(ask.quoted("a'b"), `'a'\\''b'`);
    assert.equal(
        ask.curl('http://h:1', [['name', 'cpu']], false),
        'curl -G http://h:1/query --data-urlencode name=cpu',
    );
    assert.match(
        ask.command([
            ['name', '~a.*'],
            ['by', 'b'],
        ]),
        /^metricstream query 'name=~a\.\*&by=b'$/,
    );
});

test('the tree of a profile adds up', () => {
    const profile = flame.parse('a;b;c 3\na;b 2\na;d::h0123456789abcdef 5\n\nbad\nx;y notanumber\nz;z;z 1\n');
    assert.deepEqual([profile.total, profile.skipped], [11, 2]);
    const a = profile.root.children.get('a');
    assert.deepEqual([a.value, a.self, a.children.get('b').self, a.children.get('d').value], [10, 0, 2, 5]);
    assert.deepEqual(
        plain(profile.functions.get('z')),
        { name: 'z', self: 1, total: 1 },
        'a recursive function counts once',
    );
});

test('rectangles fill their parents and none is too narrow', () => {
    const { root } = flame.parse('a;b 50\na;c 49\na;d 1\n');
    const all = flame.layout(root, 0).rectangles;
    for (const { node, x, width } of all) {
        if (!node.parent) continue;
        const parent = all.find((other) => other.node === node.parent);
        assert.ok(x >= parent.x - 1e-9 && x + width <= parent.x + parent.width + 1e-9);
        assert.ok(Math.abs(width - node.value / 100) < 1e-9);
    }
    assert.ok(!flame.layout(root, 0.02).rectangles.some(({ node }) => node.name === 'd'));
    const b = root.children.get('a').children.get('b'),
        focused = flame.layout(b, 0).rectangles;
    assert.deepEqual(plain(focused.map(({ node, width, isAncestor }) => [node.name, width, isAncestor])), [
        ['a', 1, true],
        ['all', 1, true],
        ['b', 1, false],
    ]);
});

test('a difference is one of shares, whatever the lengths', () => {
    const before = flame.parse('a;b 10\na;c 10\n'),
        after = flame.parse('a;b 100\na;c 300\n');
    flame.compare(after, before);
    const a = after.root.children.get('a');
    assert.deepEqual([after.root.before, a.children.get('b').before, a.children.get('c').before], [400, 200, 200]);
    const [first] = flame.hottest(after, flame.parse('a;gone 7\n'), 5);
    assert.ok(Math.abs(first.delta) > 0.5);
    flame.compare(after, null);
    assert.equal(a.before, null);
    assert.equal(
        flame.matched(after.root, (name) => /b|a/.test(name)),
        400,
        'a sample counts once',
    );
});

test('deep and empty profiles are bounded', () => {
    const deep = flame.parse(`${Array.from({ length: 5000 }, (_, index) => `f${index}`).join(';')} 2\n`);
    assert.ok(flame.layout(deep.root, 0).depth <= 300 && deep.total === 2);
    assert.equal(flame.layout(flame.parse('').root, 0.1).rectangles.length, 1);
});

test('the page is one document under 150 KB without outside references', () => {
    const directory = new URL('../../src/ui/assets/', import.meta.url);
    const texts = readdirSync(directory).map((name) => readFileSync(new URL(name, directory), 'utf8'));
    assert.ok(texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0) < 150_000);
    for (const text of texts) {
        assert.doesNotMatch(
            text.replaceAll('http://www.w3.org/2000/svg', ''),
            /https?:\/\/|\beval\(|new Function|innerHTML|insertAdjacentHTML|setAttribute\('style|\son\w+="/,
        );
        for (const line of text.split('\n')) assert.ok(line.length <= 120 || line.includes('data:image'), line);
    }
});
