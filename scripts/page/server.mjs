// A real server with a directory of its own, and load_test against it. Everything is bounded in time and ended by pid.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Milliseconds that any one thing may take on a busy machine. */
export const LONG_MS = 60_000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `holds` returns something true, and returns it; what it throws counts as not yet. */
export const until = async (what, holds, limit_ms = LONG_MS) => {
    const end = Date.now() + limit_ms;
    let last;
    for (;;) {
        try {
            last = await holds();
            if (last) return last;
        } catch (error) {
            last = error;
        }
        if (Date.now() > end) throw new Error(`waited ${limit_ms / 1000} s in vain for: ${what} (last: ${last})`);
        await sleep(100);
    }
};

/** A port below the ephemeral ones that nobody has: the server takes it again after a restart. */
const freePort = async () => {
    for (let attempt = 0; attempt < 100; attempt += 1) {
        const port = 20_001 + Math.floor(Math.random() * 12_000);
        const isFree = await new Promise((resolve) => {
            const probe = createServer();
            probe.once('error', () => resolve(false));
            probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
        });
        if (isFree) return port;
    }
    throw new Error('no port is free');
};

export class Server {
    constructor(binaries, flags) {
        this.binaries = binaries;
        this.flags = flags;
        this.directory = mkdtempSync(join(tmpdir(), 'metricstream-page-'));
        this.log = join(this.directory, 'server.log');
        this.said = '';
    }

    get url() {
        return `http://127.0.0.1:${this.port}`;
    }

    async start() {
        this.port ??= await freePort();
        const flags = ['--listen', `127.0.0.1:${this.port}`, '--data-dir', join(this.directory, 'data'), ...this.flags];
        const environment = Object.fromEntries(
            Object.entries(process.env).filter(([name]) => !/^(METRICSTREAM|OTEL)_/.test(name)),
        );
        this.process = spawn(join(this.binaries, 'metricstream'), flags, {
            env: environment,
            stdio: ['ignore', 'ignore', 'pipe'],
        });
        this.ended = new Promise((resolve) => this.process.once('exit', (code) => resolve(code)));
        let ended = false;
        this.ended.then(() => (ended = true));
        let words = '';
        this.process.stderr.on('data', (data) => (words = (words + data).slice(-100_000)));
        await until('the server to listen', () => ended || words.includes('listening on'));
        this.said = words;
        if (ended) throw new Error(`the server did not start: ${words}`);
    }

    /** An orderly stop; the exit code. */
    async stop() {
        if (!this.process) return 0;
        const own = this.process;
        this.process = null;
        own.kill('SIGTERM');
        const timer = setTimeout(() => own.kill('SIGKILL'), LONG_MS);
        const code = await this.ended;
        clearTimeout(timer);
        return code;
    }

    async json(path, headers = {}) {
        const response = await fetch(this.url + path, { headers });
        if (!response.ok) throw new Error(`${path}: ${response.status}`);
        return response.json();
    }

    stats() {
        return this.json('/stats');
    }

    /** What `metricstream doctor` finds for a server with these flags. */
    doctor() {
        const flags = ['--listen', `127.0.0.1:${this.port}`, '--data-dir', join(this.directory, 'data'), ...this.flags];
        const found = spawnSync(join(this.binaries, 'metricstream'), ['doctor', '--json', ...flags], {
            encoding: 'utf8',
            timeout: LONG_MS,
        });
        return JSON.parse(found.stdout);
    }

    /** Runs load_test; returns its report. Its exit code is not looked at: refusals are part of some loads. */
    async load(...flags) {
        const own = spawn(join(this.binaries, 'load_test'), [String(this.port), ...flags, '--format', 'json'], {
            stdio: ['ignore', 'pipe', 'pipe'],
        });
        let out = '',
            errors = '';
        own.stdout.on('data', (data) => (out += data));
        own.stderr.on('data', (data) => (errors += data));
        const timer = setTimeout(() => own.kill('SIGKILL'), 4 * LONG_MS);
        await new Promise((resolve) => own.once('close', resolve));
        clearTimeout(timer);
        if (!out) throw new Error(`load_test: ${errors}`);
        return JSON.parse(out);
    }

    file(name, text, mode = 0o600) {
        const path = join(this.directory, name);
        writeFileSync(path, text, { mode });
        return path;
    }

    async remove() {
        await this.stop();
        rmSync(this.directory, { recursive: true, force: true });
    }
}

/** Reads lines of /ui/stream until `enough(lines)`. */
export const streamLines = async (server, enough, headers = {}) => {
    const control = new AbortController(),
        lines = [];
    const timer = setTimeout(() => control.abort(), LONG_MS);
    try {
        const response = await fetch(`${server.url}/ui/stream`, { headers, signal: control.signal });
        if (!response.ok) throw new Error(`/ui/stream: ${response.status}`);
        let rest = '';
        const decoder = new TextDecoder();
        for await (const bytes of response.body) {
            const parts = (rest + decoder.decode(bytes, { stream: true })).split('\n');
            rest = parts.pop();
            lines.push(...parts.filter(Boolean).map((line) => JSON.parse(line)));
            if (enough(lines)) return lines;
        }
        throw new Error('the stream ended');
    } finally {
        clearTimeout(timer);
        control.abort();
    }
};
