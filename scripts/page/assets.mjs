// Loads the page's plain scripts without a browser: they are joined as the server joins them, and only definitions run.
import { readFileSync } from 'node:fs';
import vm from 'node:vm';

const directory = new URL('../../src/ui/assets/', import.meta.url);
// Those that touch no element when they are loaded; app.js starts the page.
const FILES = ['dom', 'format', 'scale', 'chart', 'store', 'stream', 'now', 'who', 'ask', 'flame', 'profile'];

/** The consts of the scripts, as one object. */
export const load = () => {
    const source = FILES.map((name) => readFileSync(new URL(`${name}.js`, directory), 'utf8')).join('\n');
    const globals = { performance, TextDecoder, URL, Date, Math, console };
    return vm.runInNewContext(`${source}\n;({ ${FILES.join(', ')} })`, globals, { filename: 'page.js' });
};

/** A value of the page's context as one of this, so that deepStrictEqual compares it. */
export const plain = (value) => JSON.parse(JSON.stringify(value));
