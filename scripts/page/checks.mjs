// Checks of one thing of the page each: what is found wrong comes back as text, and nothing if all holds.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { LONG_MS } from './server.mjs';

/** Runs a line that the page shows in a shell, as its reader would; the series it finds, or why there are none. */
export const seriesOf = (line, server) => {
    const path = `${server.binaries}:${process.env.PATH}`;
    const run = spawnSync('sh', ['-c', line], {
        encoding: 'utf8',
        env: { ...process.env, PATH: path, METRICSTREAM_DATA_DIR: join(server.directory, 'data') },
        maxBuffer: 1 << 24,
        timeout: LONG_MS,
    });
    try {
        return JSON.parse(run.stdout).series;
    } catch {
        return `${line}: ${run.error ?? ''}${run.stderr}${run.stdout.slice(0, 200)}`;
    }
};

/** The values of a chart's legend by their names, as they are shown. */
export const legend = async (page, title) => {
    const chart = page.locator('.chart', { has: page.locator('h3', { hasText: new RegExp(`^${title}$`) }) });
    const names = await chart.locator('.legend .name').allTextContents();
    const values = await chart.locator('.legend .value').allTextContents();
    return Object.fromEntries(names.map((name, index) => [name, values[index].trim()]));
};

/** What moves, although the reader wants nothing to. */
export const motion = (page) =>
    page.evaluate(() => {
        if (!matchMedia('(prefers-reduced-motion: reduce)').matches) return ['reduced motion is not emulated'];
        const still = (text) => text.split(',').every((part) => ['0s', 'none'].includes(part.trim()));
        const moving = [...document.querySelectorAll('*')].filter((element) =>
            [null, '::before', '::after'].some((part) => {
                const style = getComputedStyle(element, part);
                return !still(style.animationName) || !still(style.transitionDuration);
            }),
        );
        return [
            ...moving.map((element) => `it moves: ${element.outerHTML.slice(0, 120)}`),
            ...document.getAnimations().map((animation) => `it runs: ${animation.animationName ?? animation}`),
        ];
    });

/** The rows of the doctor's panel that are not seen whole, and the panel if it does not take its whole row. */
export const cutRows = (page) =>
    page.evaluate(() => {
        const panel = document.querySelector('.checks').closest('.panel'),
            inner = panel.getBoundingClientRect(),
            found = [];
        const outer = panel.parentElement.getBoundingClientRect();
        if (outer.width - inner.width > 1) found.push(`the panel has ${inner.width} of ${outer.width} pixels`);
        for (const row of document.querySelectorAll('.check, .check *')) {
            const own = row.getBoundingClientRect();
            // What is folded away has a place behind what is seen.
            if (!row.checkVisibility()) continue;
            const is_outside = own.left < inner.left || own.right > inner.right || own.bottom > inner.bottom;
            const is_cut = row.clientWidth && row.scrollWidth > row.clientWidth + 1;
            if (is_outside || is_cut) found.push(row.outerHTML.slice(0, 120));
        }
        return found;
    });
