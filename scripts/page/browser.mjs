// Chromium, and what is watched on every page: the console, failed requests, and where requests go.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const require = createRequire(join(process.env.TOOLS, 'package.json'));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

export const launch = () =>
    chromium.launch({
        executablePath: process.env.CHROMIUM,
        // Root has no sandbox of its own; the only pages are the server's.
        args: [
            '--disable-gpu',
            '--disable-background-networking',
            '--no-first-run',
            '--no-proxy-server',
            ...(process.getuid() === 0 ? ['--no-sandbox'] : []),
        ],
    });

export const SIZES = { wide: { width: 1440, height: 1000 }, narrow: { width: 390, height: 844 } };

/** Opens pages of one browser context, and collects what they should not do. */
export class Watch {
    constructor() {
        this.findings = [];
        this.bytes = new Map();
        // While the server is down on purpose, failing requests are no finding.
        this.expects_trouble = false;
    }

    async context(browser, options = {}) {
        const context = await browser.newContext({
            viewport: SIZES.wide,
            colorScheme: 'light',
            reducedMotion: 'reduce',
            ...options,
        });
        context.setDefaultTimeout(60_000);
        context.on('page', (page) => this.watch(page));
        return context;
    }

    watch(page) {
        const add = (what) => this.expects_trouble || this.findings.push(`${page.url()}: ${what}`);
        page.on('console', (message) => {
            add(`console ${message.type()}: ${message.text()}`);
        });
        page.on('pageerror', (error) => this.findings.push(`${page.url()}: ${error.stack}`));
        page.on('request', (request) => {
            const url = new URL(request.url());
            const is_own = url.hostname === '127.0.0.1' || ['data:', 'blob:'].includes(url.protocol);
            if (!is_own) this.findings.push(`a request leaves the host: ${url}`);
        });
        page.on('requestfailed', (request) => {
            // A page that is left aborts its stream itself.
            if (request.failure()?.errorText !== 'net::ERR_ABORTED')
                add(`failed: ${request.url()} ${request.failure()?.errorText}`);
        });
        page.on('response', async (response) => {
            if (new URL(response.url()).pathname === '/ui')
                this.bytes.set('/ui', (await response.body().catch(() => Buffer.alloc(0))).length);
        });
    }
}

/** What axe-core finds on the page as it is, one line a finding. */
export const accessibility = async (page) => {
    const session = await page.context().newCDPSession(page);
    // By the protocol, since the page's policy permits no script but its own.
    await session.send('Runtime.evaluate', { expression: axe });
    const { result } = await session.send('Runtime.evaluate', {
        expression: `axe.run().then(({ violations }) => JSON.stringify(violations.map(({ id, help, nodes }) =>
            [id, help, ...nodes.slice(0, 3).map(({ html }) => html.slice(0, 160))].join(' | '))))`,
        awaitPromise: true,
        returnByValue: true,
    });
    await session.detach();
    return JSON.parse(result.value);
};

/** The elements that the keyboard does not reach, or whose focus cannot be seen. */
export const unreachable = async (page) => {
    await page.evaluate(() => {
        const seen = [
            ...document.querySelectorAll('a[href], button, select, summary, input:not([type=radio]), [tabindex="0"]'),
        ];
        window.wanted = new Set(
            seen.filter(
                (element) =>
                    element.getClientRects().length && !element.disabled && element.getBoundingClientRect().right > 0,
            ),
        );
        window.dim = [];
        // From the beginning, whatever was clicked last.
        document.body.tabIndex = -1;
        document.body.focus();
        document.body.removeAttribute('tabindex');
    });
    for (let presses = 0; presses < 250; presses += 1) {
        await page.keyboard.press('Tab');
        const is_done = await page.evaluate(() => {
            const own = document.activeElement;
            if (!own || own === document.body) return true;
            const shown = own.type === 'radio' ? own.nextElementSibling : own;
            if (getComputedStyle(shown).outlineStyle === 'none') window.dim.push(own.outerHTML.slice(0, 120));
            window.wanted.delete(own);
            return window.wanted.size === 0;
        });
        if (is_done) break;
    }
    return page.evaluate(() => [
        ...[...window.wanted].map((own) => `not reached: ${own.outerHTML.slice(0, 120)}`),
        ...window.dim.map((own) => `no outline: ${own}`),
    ]);
};
