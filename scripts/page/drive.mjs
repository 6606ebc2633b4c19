// Every view of the page over a real server under load: drive.mjs BINARIES OUT DRIVER… Exit code 1 with each finding.
import { connect } from 'node:net';
import { join } from 'node:path';
import { load } from './assets.mjs';
import { SIZES, Watch, accessibility, launch, unreachable } from './browser.mjs';
import { cutRows, legend, motion, seriesOf } from './checks.mjs';
import { LONG_MS, Server, sleep, streamLines, until } from './server.mjs';

const [binaries, out, ...drivers] = process.argv.slice(2);
const BATCH = 5,
    RATE_LIMIT = 300,
    MALFORMED = 7,
    TABS = 20,
    PAGE_BYTES_MAX = 150_000;
// Nobody listens there: the backlog of this forward is the whole log.
const NOBODY = 'http://127.0.0.1:1/api/v1/write';
const KEY = 'a-key-of-the-page-0123456789abcdef';

const findings = [],
    unseen = [];
const { format, scale } = load();
const check = (holds, what) => {
    if (!holds) findings.push(what);
    console.log(`   ${holds ? 'ok  ' : 'FAIL'} ${what}`);
};
const same = (shown, wanted, what) =>
    check(shown === wanted, `${what}: ${shown}${shown === wanted ? '' : `, wanted ${wanted}`}`);
const listed = (all) => all.map((one) => `\n        ${one}`).join('');
const exact = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, '\u202f');
const number = (text) => Number(text.replaceAll('\u202f', ''));
const sum = (object, wanted = () => true) =>
    Object.entries(object)
        .filter(([key]) => wanted(key))
        .reduce((all, [, count]) => all + count, 0);

const tile = (page, name) =>
    page
        .locator('.tile', { has: page.locator('dt', { hasText: new RegExp(`^${name}$`) }) })
        .locator('.big')
        .innerText();
const is_live = async (page) => (await page.locator('#link-text').innerText()) === 'live';
const live = (page) => until('the page to be live', () => is_live(page));
const shot = (page, name) => page.screenshot({ path: join(out, `${name}.png`), fullPage: true });
const open = async (context, server, hash = '') => {
    const page = await context.newPage();
    await page.goto(`${server.url}/ui${hash}`);
    return page;
};
const totals = async (page) => {
    const found = /([\d\u202f–]+) requests, ([\d\u202f–]+) metrics stored, ([\d\u202f–]+) refused/.exec(
        await page.locator('.totals').innerText(),
    );
    return { requests: number(found[1]), metrics_stored: number(found[2]), refused: number(found[3]) };
};

/** The figures of Now and of the stream against /stats and load_test's. */
const figures = async (server, page, sent) => {
    const stats = await until('the page to have what /stats has', async () => {
        const [shown, found] = [await totals(page), await server.stats()];
        return (
            shown.metrics_stored === found.metrics_stored &&
            shown.refused === sum(found.answers, (status) => status >= 400) &&
            found
        );
    }).catch(async () => server.stats());
    const shown = await totals(page);
    same(shown.metrics_stored, stats.metrics_stored, 'metrics stored on the page are those of /stats');
    same(stats.metrics_stored, sent.successes * BATCH, 'and those that load_test had acknowledged');
    same(
        shown.refused,
        sum(stats.answers, (status) => status >= 400),
        'refused on the page are the responses of /stats from 400 on',
    );
    same(stats.batches.rejected_by.rate_limited, sent.refused, 'and load_test got as many 429');
    same(await tile(page, 'Connections'), String(stats.connections.active), 'connections');
    const lines = await streamLines(server, (all) => all.some(({ type }) => type === 'point'));
    const points = lines
        .filter(({ type, step_s }) => type === 'history' && step_s === 1)
        .flatMap(({ points: some }) => some);
    same(
        points.reduce((all, point) => all + point.metrics_stored, 0),
        stats.metrics_stored,
        'the points of the stream add up to /stats',
    );
    same(
        points.reduce((all, point) => all + (point.rejected_by.rate_limited ?? 0), 0),
        stats.batches.rejected_by.rate_limited,
        'so do their refusals by reason',
    );
};

/** Memory by owner and the backlog of a forward that nobody receives, against /stats. */
const owners = async (server, page) => {
    // The request for /stats has a connection and a response itself.
    const OWN = ['connections', 'answers'];
    const rest = (owned, names) => Object.keys(owned).filter((name) => !names.includes(name));
    const compared = async () => {
        const [memory, backlog] = [await legend(page, 'Memory by owner'), await legend(page, 'Backlog of forwards')];
        const { memory_bytes: owned, forwards } = await server.stats();
        const names = Object.keys(memory).filter((name) => name in owned);
        const others = rest(owned, names);
        const wanted = Object.fromEntries(names.map((name) => [name, format.bytes(owned[name])]));
        const sum_name = `${others.length} others`;
        wanted[sum_name] = format.bytes(others.reduce((all, name) => all + owned[name], 0));
        for (const name of OWN) {
            const shown = name in memory ? name : sum_name;
            wanted[shown] = memory[shown];
        }
        const behind = Object.fromEntries(forwards.map(({ name, bytes_behind: bytes }) => [name, format.bytes(bytes)]));
        return [memory, wanted, backlog, behind].map((own) => JSON.stringify(own));
    };
    const found = await until('the page to be at rest with /stats', async () => {
        const [memory, wanted, backlog, behind] = await compared();
        return memory === wanted && backlog === behind && [memory, wanted, backlog, behind];
    }).catch(compared);
    same(found[0], found[1], 'memory by owner is that of /stats');
    same(found[2], found[3], 'the backlog of forwards is that of /stats');
    const { forwards } = await server.stats();
    check(forwards.length === 1 && forwards[0].bytes_behind > 0, 'which is not empty, as nobody receives it');
};

/** The tables of Who against /stats, /stats/clients and the doctor's report. */
const who = async (server, page) => {
    await page.click('nav a[data-view=who]');
    await page.locator('.checks').first().waitFor();
    const doctor = await server.json('/ui/doctor');
    const ids = (await page.locator('.check p code').allTextContents()).sort();
    const wanted = doctor.checks.map(({ id }) => id).sort();
    same(ids.join(' '), wanted.join(' '), `the doctor's ${ids.length} checks are the report's`);
    const command = await server.doctor();
    const of_command = command.checks.map(({ id }) => id).sort();
    same(ids.join(' '), of_command.join(' '), 'and those of metricstream doctor');
    const fixes = doctor.checks.filter(({ fix }) => fix);
    const shown_fixes = await page.locator('.check .command code').allTextContents();
    check(
        fixes.every(({ fix }) => shown_fixes.includes(fix)) && shown_fixes.length === fixes.length,
        `${fixes.length} fixes are shown`,
    );
    check(
        /this server runs on it/.test(doctor.checks.find(({ id }) => id === 'data_dir').finding),
        'the directory is known to be held by the server itself',
    );
    await page.getByRole('button', { name: 'check again' }).click();
    await until('the doctor to be asked again', () => page.getByRole('button', { name: 'check again' }).isEnabled());
    const shown = async (title) =>
        number(
            (
                await page
                    .locator('.panel', { has: page.getByRole('heading', { name: title }) })
                    .locator('.note')
                    .first()
                    .innerText()
            ).split(' ')[0],
        );
    const clients = await server.json('/stats/clients?top=20');
    same(
        await until('Who to be up to date', async () =>
            (await shown('Most requests')) === clients.allowed ? clients.allowed : 0,
        ).catch(() => shown('Most requests')),
        clients.allowed,
        'batches allowed are those of /stats/clients',
    );
    same(await shown('Most refusals'), clients.refused, 'refused too');
    const { metrics_stored } = await server.stats();
    same(await shown('Most metrics'), metrics_stored, 'metrics of all clients are those of /stats');
    // Nothing is refused any more, so both are at rest.
    const cells = (row) => row.split('\t').map((cell) => cell.trim());
    const rows = (await page.locator('table:has(caption:text("Last refusals")) tbody tr').allInnerTexts()).map(cells);
    const { refused_last: refused, refused_by: by } = await server.stats();
    same(
        rows.map(([, status, reason, batch, , count]) => [status, reason, batch, number(count)]).join('; '),
        refused
            .map(({ status, reason, protocol, batch, count }) => [
                status,
                reason,
                protocol ? `${protocol}: ${batch}` : '–',
                count,
            ])
            .join('; '),
        `the ${rows.length} last refusals are those of /stats`,
    );
    const counts = {};
    for (const { reason, count } of refused) counts[reason] = (counts[reason] ?? 0) + count;
    same(counts.content_invalid, by.content_invalid, 'all malformed batches are among them');
    same(counts.rate_limited, by.rate_limited, 'and all that were over the rate');
};

/** A range that is dragged over the chart of Ask; the commands that are shown for it, run in a shell. */
const drag = async (server, page, rows) => {
    const plot = page.locator('#view-ask .plot'),
        box = await plot.boundingBox();
    const edge = async (name) => Number(await plot.getAttribute(`aria-value${name}`));
    const whole_ms = (await edge('max')) - (await edge('min'));
    const before = (await rows()).map((row) => number(row.split('\t')[1]));
    await page.mouse.move(box.x + box.width * 0.5, box.y + 80);
    check(/web1/.test(await page.locator('#view-ask .legend').innerText()), 'the legend has values under the mouse');
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.95, box.y + 80, { steps: 5 });
    const picked = await page.locator('#view-ask .chart .at').innerText();
    await page.mouse.up();
    await until('a dragged range to be requested', () => /from=\d{13}&to=\d{13}/.test(page.url()));
    await until('its result', async () => /to=\d{13}/.test(await page.locator('#view-ask .commands').innerText()));
    const query = new URL(page.url()).hash.slice('#ask?'.length);
    const [from, to] = ['from', 'to'].map((name) => Number(new URLSearchParams(query).get(name)));
    const shown = picked.split(' … ');
    check(
        shown.every((text, index) => format.clock([from, to][index], 1000).startsWith(text)),
        `the range that is dragged is the one that is requested: ${picked}`,
    );
    const part = (to - from) / whole_ms;
    check(part > 0.44 && part < 0.52, `it is as wide as it was dragged: ${part.toFixed(3)} of the chart`);
    const fields = await Promise.all(['From', 'To'].map((name) => page.getByLabel(name, { exact: true }).inputValue()));
    same(fields.join(' '), `${from} ${to}`, 'the fields From and To have it');
    const { series } = await server.json(`/query?${query}`);
    const counted = (await rows()).map((row) => number(row.split('\t')[1]));
    same(counted.join(' '), series.map(({ points }) => points.length).join(' '), 'its points are those of /query');
    const times = series.flatMap(({ points }) => points.map(([t]) => t));
    const step_ms = 60_000;
    check(
        times.length > 0 && times.every((t) => t > from - step_ms && t <= to),
        `all of it within the range, where there were ${before.join(' and ')}`,
    );
    const lines = await page.locator('#view-ask .commands code').allInnerTexts();
    check(lines[0].startsWith('curl -G ') && lines[1].startsWith('metricstream query '), `the commands: ${lines[0]}`);
    for (const line of lines.slice(0, 2)) {
        const found = seriesOf(`${line}${line.startsWith('curl') ? ' -sS' : ' --format json'}`, server);
        const is_same = JSON.stringify(found) === JSON.stringify(series);
        check(
            is_same,
            `${line.split(' ')[0]}, run in a shell, finds the same${is_same ? '' : `: ${JSON.stringify(found)}`}`,
        );
    }
    same(lines[2], page.url(), 'the link is the URL');
};

/** A query by completion, keyboard and mouse, against /query. */
const ask = async (server, page) => {
    const at = Date.now(),
        metrics = [];
    for (let index = 0; index < 120; index += 1) {
        for (const host of ['web1', 'web2'])
            metrics.push({
                name: 'page_test',
                value: index + (host === 'web1' ? 0.25 : 1000),
                timestamp: at - 600_000 + index * 5000,
                tags: { host },
            });
    }
    metrics.push({ name: 'page_digits', value: 1, timestamp: at - 5000, tags: {} });
    const body = JSON.stringify({ metrics }).replace(
        /"page_digits","value":1/,
        '"page_digits","value":12345678901234567890',
    );
    const stored = await fetch(`${server.url}/metrics`, {
        method: 'POST',
        body,
        headers: { Authorization: 'Bearer page' },
    });
    if (!stored.ok) throw new Error(`posting for Ask: ${stored.status} ${await stored.text()}`);

    await page.click('nav a[data-view=ask]');
    await page.locator('#view-ask input').first().pressSequentially('page_t');
    await until('the name to be completed', () => page.locator('#ask-names option[value=page_test]').count());
    await page.locator('#view-ask input').first().fill('page_test');
    await page.keyboard.press('Enter');
    await page.locator('#view-ask .commands').waitFor();
    await until('tags to group by', () => page.getByRole('button', { name: '○ host' }).count());
    await page.getByRole('button', { name: '○ host' }).click();
    const rows = () => page.locator('table:has(caption:text("Series of the result")) tbody tr').allInnerTexts();
    await until('two series', async () => (await rows()).length === 2);
    const query = new URL(page.url()).hash.slice('#ask?'.length);
    const found = await server.json(`/query?${query}`);
    const counted = (await rows()).map((row) => number(row.split('\t')[1]));
    same(
        counted.join(' '),
        found.series.map(({ points }) => points.length).join(' '),
        'points of the page are those of /query',
    );
    check(query.includes('by=host') && query.includes('step='), `the query is in the URL: ${query}`);

    // The link that is sent to somebody shows the same.
    await page.reload();
    await until('the same result by the link', async () => (await rows()).length === 2);

    await drag(server, page, rows);
    await page.goBack();

    await page.goto(`${server.url}/ui#ask?name=page_digits&agg=last&from=-1h`);
    await until('digits that a double has not', async () => (await rows()).join().includes('12345678901234567890'));
    check(true, 'digits come as they were stored');
    await page.goto(`${server.url}/ui#ask?name=page_test&agg=avg&by=host&from=-15m&step=5s&limit=20`);
    await until('two series again', async () => (await rows()).length === 2);
};

/** A profile under load, its search and its difference. */
const profile = async (server, page, name) => {
    await page.click('nav a[data-view=profile]');
    const sample = async () => {
        const before = await page.locator('#profile-which option').count();
        await page.fill('#profile-seconds', '3');
        await page.getByRole('button', { name: 'Start' }).click();
        await until(
            'the profile',
            async () =>
                (await page.locator('#view-profile .problem').innerText()) ||
                (await page.locator('#profile-which option').count()) > before,
        );
        return page.locator('#view-profile .problem').innerText();
    };
    if (await page.getByRole('button', { name: 'Start' }).isDisabled()) {
        unseen.push(`profile on ${name}: the server says that it does not sample itself`);
        return;
    }
    const load = server.load('8', '--duration', '20s', '--clients', '8', '--batch', '50');
    await sleep(500);
    const problem = await sample();
    if (problem) {
        unseen.push(`profile on ${name}: ${problem}`);
        console.log(`   not seen: ${problem}`);
    } else {
        await sample();
        const functions = await page
            .locator('table:has(caption:text("Functions by their own time")) tbody tr')
            .allInnerTexts();
        check(
            functions.length > 5,
            `a profile of ${functions.length} functions and more: ${functions
                .slice(0, 3)
                .map((row) => row.split('\t').pop())
                .join(', ')}`,
        );
        await page.fill('#profile-search', 'parse|json');
        await until('a share that matches', async () =>
            /match/.test(await page.locator('#view-profile .fields .note').last().innerText()),
        );
        await page.fill('#profile-search', '');
        await page.focus('.flame');
        for (const key of ['ArrowUp', 'ArrowUp', 'ArrowRight', 'Enter', 'Escape', 'Home'])
            await page.keyboard.press(key);
        check(
            /samples/.test(await page.locator('#view-profile .detail').innerText()),
            'the flamegraph follows the keyboard',
        );
        await page.selectOption('#profile-against', { index: 1 });
        await page.getByRole('columnheader', { name: 'change' }).waitFor();
        await shot(page, `${name}-profile-diff`);
        await page.selectOption('#profile-against', { index: 0 });
        const which = await page.locator('#profile-which').inputValue();
        await page.selectOption('#profile-mode', 'states');
        const states_problem = await sample();
        check(!states_problem, `the states of threads are shown ${states_problem}`);
        const own = await page
            .locator('table:has(caption:text("Functions by their own time")) tbody tr')
            .allInnerTexts();
        check(own.join().includes('on a CPU'), 'time on a CPU is among them');
        await shot(page, `${name}-profile-states`);
        await page.selectOption('#profile-mode', 'on-cpu');
        await page.selectOption('#profile-which', which);
    }
    await load;
};

/** The parts of the server that a profile of it under full load has to name. */
const layers = async (server, name) => {
    const load = server.load('-c', '512', '--duration', '9s', '--clients', '512', '--pipeline', '16');
    await sleep(1000);
    const response = await fetch(`${server.url}/debug/profile?seconds=6`, {
        method: 'POST',
        headers: { Accept: 'text/plain' },
    });
    const text = await response.text();
    await load;
    if (!response.ok) return unseen.push(`the parts of the server in a profile on ${name}: ${text}`);
    const stacks = text.split('\n').filter(Boolean);
    const named = (thread, part) => stacks.some((stack) => stack.startsWith(thread) && stack.includes(part));
    const PARTS = { parser: 'metric::parser::', encoder: 'metric::encode::', limiter: 'rate::', shard: '::shard::' };
    for (const [part, path] of Object.entries(PARTS))
        check(named('reactor-', path), `a profile under full load has the ${part}, ${path}`);
    check(named('reactor-', 'reactor::') && named('writer;', 'log::writer::'), 'and the reactor and the writer');
    const known = /samples=(\d+); lost=(\d+); truncated=(\d+)/.exec(response.headers.get('x-metricsstream-profile'));
    const [samples, lost, truncated] = known.slice(1).map(Number);
    const is_whole = samples > 200 && lost * 20 < samples && truncated * 4 < samples;
    check(is_whole, `of ${samples} samples, ${lost} are lost and ${truncated} cut off`);
};

/** The charts of Now by the keyboard: cursor, selection, zoom, back. */
const keyboard = async (page) => {
    await page.keyboard.press('Escape');
    await page.locator('body').press('1');
    await until('the view Now by its key', () => page.locator('#view-now').isVisible());
    const plot = page.locator('#view-now .plot').first();
    await plot.focus();
    for (let index = 0; index < 5; index += 1) await page.keyboard.press('ArrowLeft');
    const words = await plot.getAttribute('aria-valuetext');
    check(/^\d\d:\d\d:\d\d.*: requests /.test(words), `a chart says what is at its cursor: ${words}`);
    for (let index = 0; index < 20; index += 1) await page.keyboard.press('Shift+ArrowLeft');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'back to live' }).click();
    check(
        await page.getByRole('button', { name: 'back to live' }).isHidden(),
        'a range is chosen by the keyboard, and left',
    );
};

/** Has a page show a short profile under load. Returns the load, as an array, as a promise would be waited for. */
const flamegraph = async (server, page, name) => {
    if (await page.getByRole('button', { name: 'Start' }).isDisabled()) return [];
    const load = server.load('4', '--duration', '8s', '--clients', '4', '--rate', '800');
    await page.fill('#profile-seconds', '1');
    await page.getByRole('button', { name: 'Start' }).click();
    const problem = () => page.locator('#view-profile .problem').innerText();
    await until('a profile', async () => (await problem()) || (await page.locator('#profile-which option').count()));
    if (await problem()) unseen.push(`profile on ${name}: ${await problem()}`);
    return [load];
};

/** Every view in light, dark and narrow: pictures, and what axe-core has to say. */
const views = async (browser, watch, server, name, main) => {
    const hashes = { now: '#now', who: '#who', ask: new URL(main.url()).hash, profile: '#profile' };
    const kinds = { light: ['light', SIZES.wide], dark: ['dark', SIZES.wide], 390: ['light', SIZES.narrow] };
    for (const [kind, [colorScheme, viewport]] of Object.entries(kinds)) {
        const context = await watch.context(browser, { colorScheme, viewport });
        for (const [view, hash] of Object.entries(hashes)) {
            const page = await open(context, server, hash);
            await live(page);
            if (view === 'who') {
                await page.locator('.checks').first().waitFor();
                await page.locator('table:has(caption:text("Last refusals"))').waitFor();
            }
            if (view === 'ask') await page.locator('#view-ask .commands').waitFor();
            const load = view === 'profile' ? await flamegraph(server, page, `${name}, ${kind}`) : [];
            await sleep(1200);
            await shot(page, `${name}-${view}-${kind}`);
            const found = await accessibility(page);
            check(!found.length, `axe-core finds nothing: ${view} ${kind}${listed(found)}`);
            const moving = await motion(page);
            check(!moving.length, `nothing moves with reduced motion: ${view} ${kind}${listed(moving)}`);
            if (view === 'who') {
                const cut = await cutRows(page);
                check(!cut.length, `the rows of the doctor's panel are whole: ${kind}${listed(cut)}`);
            }
            const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
            check(over <= 0, `nothing is wider than the window: ${view} ${kind}${over > 0 ? `, ${over} pixels` : ''}`);
            if (kind === 'light') {
                const missed = await unreachable(page);
                check(!missed.length, `the keyboard reaches everything: ${view}${listed(missed)}`);
            }
            await Promise.all(load);
            await page.close();
        }
        await context.close();
    }
};

/** Many tabs share a stream; when the one that reads goes, the others do not notice. */
const tabs = async (browser, watch, server) => {
    const context = await watch.context(browser);
    const pages = [];
    for (let index = 0; index < TABS; index += 1) pages.push(await open(context, server));
    for (const page of pages) await live(page);
    check(true, `${TABS} tabs are live at once`);
    const connections = (await server.stats()).connections.active;
    check(connections <= 10, `and hold ${connections} connections together`);
    await pages[0].close();
    await sleep(5000);
    const alive = await Promise.all(pages.slice(1).map(is_live));
    check(alive.every(Boolean), 'all go on after the first is closed');
    await context.close();
};

/** A tab that is frozen for a while has no gap of its own afterwards: the server has what it missed. */
const sleeper = async (browser, watch, server) => {
    const context = await watch.context(browser);
    const page = await open(context, server);
    await live(page);
    const session = await context.newCDPSession(page);
    await session.send('Page.setWebLifecycleState', { state: 'frozen' });
    await sleep(9000);
    await session.send('Page.setWebLifecycleState', { state: 'active' });
    await live(page);
    await until('the summary of a chart', async () =>
        /last/.test(await page.locator('#view-now figure p').first().textContent()),
    );
    await sleep(6000);
    const summary = await page.locator('#view-now figure p').first().textContent();
    const lines = await streamLines(server, (all) => all.some(({ type }) => type === 'point'));
    const times = lines
        .filter(({ type, step_s }) => type === 'history' && step_s === 1)
        .flatMap(({ points }) => points.map(({ t_ms }) => t_ms));
    // A machine that is busy elsewhere may keep the server from a second.
    const own = scale.gaps(times, 1000, times[0], times[times.length - 1]).length;
    const shown = Number(/(\d+) gaps? without data/.exec(summary)?.[1] ?? 0);
    same(shown, own, 'a tab that slept has the gaps that the server has, and none of its own');
    await context.close();
};

/** A server that restarts: the page says so, comes back by itself, and draws the gap. */
const restart = async (browser, watch, server, name) => {
    const context = await watch.context(browser);
    const page = await open(context, server);
    await live(page);
    await sleep(3000);
    watch.expects_trouble = true;
    same(await server.stop(), 0, 'the server stops in order with a stream open');
    await until('the page to notice', async () => /next try in/.test(await page.locator('#link-text').innerText()));
    await sleep(5000);
    same(await tile(page, 'Requests'), '–', 'what is not known is a dash while the server is away');
    await server.start();
    await live(page);
    watch.expects_trouble = false;
    await sleep(7000);
    const summary = await page.locator('#view-now figure p').first().textContent();
    check(/gap/.test(summary), `a restart is a gap: ${summary}`);
    await shot(page, `${name}-restart`);
    await context.close();
};

/** A reader that never reads costs the others nothing. */
const stalled = async (browser, watch, server) => {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write('GET /ui/stream HTTP/1.1\r\nHost: localhost\r\n\r\n');
    socket.pause();
    const context = await watch.context(browser);
    const page = await open(context, server);
    await live(page);
    await sleep(3000);
    check(await is_live(page), 'a reader that never reads is not noticed by others');
    socket.destroy();
    await context.close();
};

/** The page without a key, with a wrong and with the right one. */
const keys = async (browser, watch, driver) => {
    const server = new Server(binaries, []);
    server.flags = ['--driver', driver, '--api-keys', server.file('keys', `${KEY}\n`)];
    await server.start();
    const context = await watch.context(browser);
    watch.expects_trouble = true;
    try {
        const page = await open(context, server);
        await page.locator('#key').waitFor();
        check(!(await accessibility(page)).length, 'axe-core finds nothing in the dialog of the key');
        await page.fill('#key-text', 'wrong');
        await page.keyboard.press('Enter');
        await until('the wrong key to be refused', async () =>
            /does not know/.test(await page.locator('#key-error').innerText()),
        );
        await page.fill('#key-text', KEY);
        await page.keyboard.press('Enter');
        await live(page);
        await page.reload();
        await live(page);
        check(true, 'a key is asked for, refused, taken and kept for the tab');
    } finally {
        await context.close();
        watch.expects_trouble = false;
        await server.remove();
    }
};

/** The spans of load_test's runs on the charts, of a page that was open and of one that is opened now. */
const marks = async (browser, watch, server, main) => {
    const wanted = /Marked: even from [\d:]+ to [\d:]+; over the rate from [\d:]+ to [\d:]+\. /;
    const summary = (page) => page.locator('#view-now figure p').first().textContent();
    await until('the marks of both runs', async () => wanted.test(await summary(main)));
    check(true, 'the runs of load_test are marked');
    const context = await watch.context(browser);
    const late = await open(context, server);
    await live(late);
    await until('the marks on a page that is opened late', async () => wanted.test(await summary(late)));
    check(true, 'also on a page that is opened later, in a browser of its own');
    await context.close();
};

const drive = async (browser, driver) => {
    console.log(`${driver}:`);
    const server = new Server(binaries, [
        '--driver',
        driver,
        '--rate-limit',
        String(RATE_LIMIT),
        '--stats-interval',
        '0s',
        '--forward',
        NOBODY,
    ]);
    const watch = new Watch();
    try {
        try {
            await server.start();
        } catch (error) {
            if (!/io_uring/.test(error.message)) throw error;
            unseen.push(`${driver}: ${error.message.split('\n')[0]}`);
            return;
        }
        const context = await watch.context(browser);
        const main = await open(context, server);
        await live(main);
        const even = await server.load(
            '8',
            '--rate',
            '400',
            '--duration',
            '12s',
            '--clients',
            '4',
            '--batch',
            String(BATCH),
            '--mark',
            'even',
        );
        const over = await server.load(
            '4',
            '--rate',
            '900',
            '--duration',
            '6s',
            '--clients',
            '1',
            '--batch',
            String(BATCH),
            '--mark',
            'over the rate',
        );
        for (let index = 0; index < MALFORMED; index += 1)
            await fetch(`${server.url}/metrics`, { method: 'POST', body: '{"metrics":[{"name":""}]}' });
        await figures(server, main, { successes: even.successes + over.successes, refused: over.statuses['429'] ?? 0 });
        await owners(server, main);
        await marks(browser, watch, server, main);
        await shot(main, `${driver}-now-marks`);
        await keyboard(main);
        await who(server, main);
        await ask(server, main);
        const hash = main.url();
        await profile(server, main, driver);
        await shot(main, `${driver}-profile`);
        await layers(server, driver);
        await main.goto(hash);
        await views(browser, watch, server, driver, main);
        await context.close();
        await tabs(browser, watch, server);
        await sleeper(browser, watch, server);
        await stalled(browser, watch, server);
        await restart(browser, watch, server, driver);
        await keys(browser, watch, driver);
        check(
            watch.bytes.get('/ui') > 0 && watch.bytes.get('/ui') < PAGE_BYTES_MAX,
            `the page has ${watch.bytes.get('/ui')} bytes`,
        );
        check(
            !watch.findings.length,
            `no console message, no failed request, none that leaves the host${listed(watch.findings)}`,
        );
    } finally {
        await server.remove();
    }
};

const browser = await launch();
try {
    for (const driver of drivers) {
        try {
            await drive(browser, driver);
        } catch (error) {
            findings.push(`${driver}: ${error.stack}`);
        }
    }
} finally {
    await browser.close();
}
console.log(
    findings.length ? `${findings.length} findings:\n${findings.join('\n')}` : `all holds; pictures are in ${out}`,
);
if (unseen.length) console.log(`NOT SEEN:\n${unseen.join('\n')}`);
process.exit(findings.length ? 1 : 0);
