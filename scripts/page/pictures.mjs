// The pictures of the documents: pictures.mjs BINARIES DIRECTORY writes live-page.png and flamegraph.png. Takes three
// minutes. The flamegraph needs a release build, whose stacks are short enough to be whole.
import { join } from 'node:path';
import { Watch, launch } from './browser.mjs';
import { Server, sleep, until } from './server.mjs';

const [binaries, out] = process.argv.slice(2);
const SIZE = { width: 1280, height: 985 };

const server = new Server(binaries, ['--reactors', '1', '--rate-limit', '900', '--stats-interval', '0s']);
const browser = await launch();
try {
    await server.start();
    const context = await new Watch().context(browser, { viewport: SIZE, colorScheme: 'dark' });
    const page = await context.newPage();
    await page.goto(`${server.url}/ui`);
    // As agents do it: most keep to their rate, and one does not for a while.
    const even = ['--clients', '32', '--batch', '20'];
    const stages = '20s:2000,15s:1400,15s:1400,25s:2300,20s:1800,15s:2000';
    const load = server.load('-c', '32', '--stages', stages, ...even, '--mark', 'rising and falling');
    await sleep(60_000);
    const one = ['--rate', '1500', '--duration', '20s', '--clients', '1'];
    const over = server.load('-c', '4', ...one, '--mark', 'over its rate');
    await over;
    await page.getByRole('radio', { name: '2 min' }).check();
    await sleep(22_000);
    await page.screenshot({ path: join(out, 'live-page.png') });
    await load;

    await page.click('nav a[data-view=profile]');
    const deep = server.load('-c', '512', '--duration', '25s', '--clients', '512', '--pipeline', '16');
    await sleep(1000);
    await page.getByRole('button', { name: 'Start' }).click();
    const problem = () => page.locator('#view-profile .problem').innerText();
    await until('the profile', async () => (await problem()) || (await page.locator('#profile-which option').count()));
    if (await problem()) throw new Error(await problem());
    await page.fill('#profile-search', 'reactor::|parser::|encode::|rate::|writer::');
    await sleep(1000);
    await page.locator('#view-profile .flame').scrollIntoViewIfNeeded();
    await page.screenshot({ path: join(out, 'flamegraph.png') });
    await deep;
    console.log(`live-page.png and flamegraph.png are in ${out}`);
} finally {
    await browser.close();
    await server.remove();
}
