'use strict';
// The view Who: the clients with the most requests, metrics and refusals, the last refusals, and what the doctor finds.
const who = (() => {
	const { h, text } = dom;
	const SEVERITIES = ['critical', 'warning', 'note', 'unknown', 'ok'];
	// Those that are nouns.
	const PLURALS = ['warning', 'note'];

	const clientCell = (client) =>
		h('code', { title: client, text: client.length > 16 ? `${client.slice(0, 16)}…` : client });
	const shareCell = (ratio) => {
		const fill = h('span', { class: 'fill', style: { width: `${format.isNumber(ratio) ? ratio * 100 : 0}%` } });
		return h(
			'span',
			{ class: 'load' },
			h('span', { class: 'track', 'aria-hidden': 'true' }, fill),
			h('span', { class: 'value', text: format.percent(ratio) }),
		);
	};
	const number = (name) => ({ name, class: 'number' });

	// The clients of one list, with their share of the whole in `key`.
	const clients = (caption, list, whole, key) =>
		dom.table(
			caption,
			[
				{ name: 'client' },
				...['allowed', 'refused', 'metrics'].map(number),
				{ name: `of all ${key}`, class: 'meter' },
				number('idle'),
			],
			list.map((client) => [
				clientCell(String(client.client)),
				...['allowed', 'refused', 'metrics'].map((name) => format.exact(client[name])),
				shareCell(whole > 0 ? client[key] / whole : null),
				format.span(client.idle_ms / 1000),
			]),
		);

	const create = (section, state, fetched) => {
		const part = (title, note) => {
			const head = h('h3', { text: title }),
				small = h('span', { class: 'note', text: note }),
				body = h('div', {});
			return {
				element: h('div', { class: 'panel' }, h('div', { class: 'bar' }, head, small), body),
				body,
				small,
				bar: head.parentElement,
			};
		};
		const heaviest = part('Most requests', ''),
			most_metrics = part('Most metrics', ''),
			most_refused = part('Most refusals', '');
		const refusals = part('Last refusals', ''),
			doctor = part('Doctor', '');
		const again = h('button', {
			type: 'button',
			class: 'quiet',
			text: 'check again',
			on: { click: () => diagnose(true) },
		});
		doctor.bar.append(again);
		// Of two columns the three lists and the refusals fill two rows, of three one row and a half.
		refusals.element.classList.add('is-wide-in-three');
		doctor.element.classList.add('is-wide');
		section.append(
			h(
				'div',
				{ class: 'panels' },
				[heaviest, most_metrics, most_refused, refusals, doctor].map(({ element }) => element),
			),
		);
		let drawn = null,
			diagnosed = false;

		const fill = (panel, label, content) => {
			const old = panel.body.querySelector('.scroller');
			if (old) old.replaceChildren(content);
			else panel.body.replaceChildren(dom.scroller(label, content));
		};
		const empty = (panel, words) => panel.body.replaceChildren(h('p', { class: 'empty', text: words }));

		const draw = () => {
			if (section.hidden) return;
			if (!diagnosed) diagnose(false);
			const current = state.who;
			if (!current || current === drawn) return;
			drawn = current;
			const { clients: found, refusals: list = [] } = current;
			const limited = found?.limited !== false;
			for (const [panel, title, rows, whole, key] of [
				[heaviest, 'Most requests', found?.heaviest, found?.allowed, 'allowed'],
				[most_metrics, 'Most metrics', found?.most_metrics, found?.metrics, 'metrics'],
				[most_refused, 'Most refusals', found?.most_refused, found?.refused, 'refused'],
			]) {
				text(panel.small, found ? `${format.exact(whole)} ${key} in all` : '');
				if (!limited) empty(panel, 'Without a limit (--rate-limit 0) clients are not told apart.');
				else if (!rows?.length) empty(panel, 'None so far.');
				else fill(panel, title, clients(title, rows, whole, key));
			}
			text(refusals.small, list.length ? `the last ${list.length}` : '');
			if (!list.length) empty(refusals, 'None so far.');
			else {
				const columns = [
					{ name: 'time' },
					number('status'),
					{ name: 'reason' },
					{ name: 'batch' },
					{ name: 'client' },
					number('count'),
				];
				fill(
					refusals,
					'Last refusals',
					dom.table(
						'Last refusals',
						columns,
						list.map((one) => [
							format.clock(one.t_ms, 1),
							String(one.status ?? format.NONE),
							String(one.reason ?? format.NONE),
							one.protocol ? `${one.protocol}: ${one.batch}` : format.NONE,
							one.client ? clientCell(String(one.client)) : format.NONE,
							format.exact(one.count),
						]),
					),
				);
			}
		};

		const check = (one) =>
			h(
				'li',
				{ class: `check is-${one.severity}` },
				h('span', { class: 'severity', text: one.severity }),
				h(
					'div',
					{},
					h('p', {}, h('code', { text: one.id }), ` ${one.finding}`),
					one.fix
						? h(
								'div',
								{ class: 'command' },
								h('code', { text: one.fix }),
								dom.copyButton(() => one.fix, 'the fix'),
							)
						: null,
				),
			);

		const diagnose = async (aloud) => {
			diagnosed = true;
			again.disabled = true;
			text(doctor.small, 'checking …');
			try {
				const report = await (await fetched('/ui/doctor')).json();
				const checks = [...(report.checks ?? [])].sort(
					(a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity),
				);
				const fine = checks.filter(({ severity }) => severity === 'ok');
				text(
					doctor.small,
					SEVERITIES.filter((severity) => report.counts?.[severity])
						.map((severity) => [report.counts[severity], severity])
						.map(([count, own]) => `${count} ${own}${count > 1 && PLURALS.includes(own) ? 's' : ''}`)
						.join(', '),
				);
				doctor.body.replaceChildren(
					h('ul', { class: 'checks' }, checks.filter(({ severity }) => severity !== 'ok').map(check)),
					h(
						'details',
						{},
						h('summary', { text: `${fine.length} checks passed` }),
						h('ul', { class: 'checks' }, fine.map(check)),
					),
				);
				if (aloud) dom.announce(`Checked: ${doctor.small.textContent}`);
			} catch (error) {
				diagnosed = false;
				text(doctor.small, '');
				empty(doctor, `The report is unavailable: ${error.message}`);
				diagnosed = true;
			}
			again.disabled = false;
		};

		return { draw };
	};

	return { create };
})();
