'use strict';
// The view Now: tiles with the last second, charts of ten minutes or a day, a row for each core.
const now = (() => {
	const { h, text } = dom;
	// Milliseconds of the ranges, and the seconds of a point in each.
	const RANGES = { '2 min': [120e3, 1], '10 min': [600e3, 1], '24 h': [86400e3, 60] };
	// A last point older than this is no longer "now".
	const STALE_MS = 3500;
	const CORES_AS_LINES = 6;
	const QUANTILES = [
		['p50', 'p50'],
		['p99', 'p99'],
		['p99_9', 'p99.9'],
		['max', 'max'],
	];
	const STAGES = ['receive', 'decide', 'write', 'sync', 'send'];
	const REASONS = [
		['batches', 'batches'],
		['responses', 'responses'],
	];

	const per = (read) => (point) => store.perSecond(point, read(point));
	const sum = (numbers) =>
		numbers.length && numbers.every(format.isNumber) ? numbers.reduce((a, b) => a + b, 0) : null;
	const sumOf = (object) => (object ? Object.values(object).reduce((a, b) => a + b, 0) : null);
	const most = (numbers) => {
		const known = numbers.filter(format.isNumber);
		return known.length ? Math.max(...known) : null;
	};
	// What is left out of an object that has only what is not zero is zero; without the object it is not known.
	const entry = (object, key) => (object ? (object[key] ?? 0) : null);
	const refused = (point) =>
		point.responses
			? sum([
					0,
					...Object.entries(point.responses)
						.filter(([status]) => status >= 400)
						.map(([, count]) => count),
				])
			: null;
	const both = (point) => {
		const reasons = { ...point.rejected_by };
		for (const [reason, count] of Object.entries(point.shed_by ?? {}))
			reasons[reason] = (reasons[reason] ?? 0) + count;
		return reasons;
	};
	// Names of statuses keep their colours whatever else occurs.
	const STATUS_COLORS = { 200: 0, 204: 5, 202: 5, 429: 1, 503: 3, 400: 2, 401: 4, 413: 6, 404: 7 };

	// Charts: [id, options, series of points]. A series is [name, reader, colour, label].
	const CHARTS = [
		[
			'requests',
			{ title: 'Requests', note: 'per second', show: format.rate, tick: format.count, floor: 0 },
			() => [['requests', per((p) => p.requests), 0]],
		],
		[
			'metrics',
			{ title: 'Metrics', note: 'per second', show: format.rate, tick: format.count, floor: 0 },
			() => [
				['stored', per((p) => p.metrics_stored), 0],
				['rejected', per((p) => p.metrics_rejected), 1],
				['shed', per((p) => p.metrics_shed), 3],
			],
		],
		[
			'latency',
			{ title: 'Latency of a batch', note: 'log scale', log: true, show: format.duration },
			() => QUANTILES.map(([key, name], index) => [name, (p) => p.latency_us?.[key], [0, 2, 1, 3][index]]),
		],
		[
			'stages',
			{ title: 'Stages', note: 'log scale', log: true, show: format.duration },
			(points, view) =>
				STAGES.map((stage, index) => [stage, (p) => p.stages_us?.[stage]?.[view.quantile], index]),
		],
		[
			'responses',
			{
				title: 'Responses by status',
				note: 'per second',
				kind: 'stack',
				show: format.rate,
				tick: format.count,
				floor: 0,
			},
			(points) =>
				store
					.keys(points, (p) => p.responses)
					.sort()
					.map((status) => [status, per((p) => entry(p.responses, status)), STATUS_COLORS[status] ?? 7]),
		],
		[
			'refusals',
			{
				title: 'Refusals by reason',
				note: '/s',
				kind: 'stack',
				show: format.rate,
				tick: format.count,
				floor: 0,
			},
			(points, view) => {
				const of = view.reasons === 'batches' ? both : (p) => p.refused_by;
				return store
					.keys(points, of)
					.slice(0, 12)
					.sort()
					.map((reason, index) => [reason, per((p) => entry(of(p), reason)), (index + 1) % chart.COLORS]);
			},
		],
		[
			'bytes',
			{ title: 'Bytes', note: 'per second', binary: true, show: format.byteRate, tick: format.bytes, floor: 0 },
			() => [
				['bodies', per((p) => p.body_bytes), 0],
				['lines', per((p) => p.line_bytes), 1],
				['written', per((p) => p.writer?.written_bytes), 2],
			],
		],
		[
			'load',
			{
				title: 'Load by core',
				note: '',
				show: format.percent,
				tick: (x) => `${Math.round(x * 100)} %`,
				floor: 0,
				ceiling: 1,
			},
			(points, view) => [...perCore(view, (r) => r?.busy), ['writer', (p) => p.writer?.busy, 1]],
		],
		[
			'turns',
			{ title: 'Turns by core', note: 'per second', show: format.rate, tick: format.count, floor: 0 },
			(points, view) => perCore(view, (r, p) => store.perSecond(p, r?.turns)),
		],
		[
			'ring',
			{ title: 'Fullest ring', note: '', binary: true, show: format.bytes, floor: 0 },
			() => [
				['used', (p) => most((p.reactors ?? []).map((r) => r?.ring_used_bytes)), 0],
				['high water', (p) => most((p.reactors ?? []).map((r) => r?.ring_high_bytes)), 1],
			],
		],
		[
			'disk',
			{ title: 'writev and fsync', note: 'log scale', log: true, show: format.duration },
			() => [
				['writev p50', (p) => p.writev_us?.p50, 0],
				['writev p99', (p) => p.writev_us?.p99, 5],
				['fsync p50', (p) => p.fsync_us?.p50, 1],
				['fsync p99', (p) => p.fsync_us?.p99, 3],
			],
		],
		['connections', { title: 'Connections', note: 'open', floor: 0 }, () => [['open', (p) => p.connections, 0]]],
		[
			'memory',
			{ title: 'Memory by owner', note: '', kind: 'stack', binary: true, show: format.bytes, floor: 0 },
			(points) => owners(points),
		],
		[
			'log',
			{ title: 'Log', note: '', binary: true, show: format.bytes, floor: 0 },
			() => [['size', (p) => p.log?.bytes, 0]],
		],
		[
			'queries',
			{ title: 'Queries', note: 'per second', show: format.rate, tick: format.count, floor: 0 },
			() => [['received', per((p) => p.queries?.received), 0]],
		],
		[
			'forwards',
			{ title: 'Backlog of forwards', note: '', binary: true, show: format.bytes, floor: 0 },
			(points) =>
				[...new Set(points.flatMap((p) => (p.forwards ?? []).map(({ name }) => name)))].map((name, index) => [
					name,
					(p) => p.forwards?.find((forward) => forward.name === name)?.bytes_behind,
					index,
				]),
		],
	];

	const perCore = (view, read) =>
		Array.from({ length: view.cores }, (_, index) => [
			`reactor-${index}`,
			(p) => read(p.reactors?.[index], p),
			index === 0 ? 0 : index + 1,
			null,
			String(index),
		]);

	// The seven largest owners of memory, and the rest as one.
	const owners = (points) => {
		const last = points[points.length - 1]?.memory_bytes ?? {};
		const names = Object.keys(last).sort((a, b) => last[b] - last[a] || (a < b ? -1 : 1));
		const first = names.slice(0, 6).sort(),
			rest = names.slice(6);
		const list = first.map((name, index) => [name, (p) => p.memory_bytes?.[name], index]);
		if (rest.length)
			list.push([
				`${rest.length} others`,
				(p) =>
					p.memory_bytes && sumOf(Object.fromEntries(rest.map((name) => [name, p.memory_bytes[name] ?? 0]))),
				7,
			]);
		return list;
	};

	// Tiles: [name, value of a point, what is smaller beneath it].
	const TILES = [
		['Requests', (p) => format.rate(store.perSecond(p, p.requests)), () => ''],
		['Metrics stored', (p) => format.rate(store.perSecond(p, p.metrics_stored)), () => ''],
		['Bodies', (p) => format.byteRate(store.perSecond(p, p.body_bytes)), () => ''],
		['p50', (p) => format.duration(p.latency_us?.p50), () => 'latency'],
		['p99', (p) => format.duration(p.latency_us?.p99), () => 'latency'],
		['p99.9', (p) => format.duration(p.latency_us?.p99_9), () => 'latency'],
		['max', (p) => format.duration(p.latency_us?.max), () => 'latency'],
		[
			'Refused',
			(p) => format.rate(store.perSecond(p, refused(p))),
			(p) => percentOf(refused(p), sumOf(p.responses)),
		],
		[
			'Connections',
			(p) => format.count(p.connections),
			(p, hello) => `of ${format.count(hello.limits?.connections)}`,
		],
		['CPU', (p) => format.percent(store.perSecond(p, p.cpu_seconds)), () => 'of one core'],
		['Resident', (p) => format.bytes(p.resident_bytes), (p) => `owned ${format.bytes(sumOf(p.memory_bytes))}`],
		['Log', (p) => format.bytes(p.log?.bytes), (p) => `${format.bytes(p.log?.disk_free_bytes)} free`],
		['Segments', (p) => format.count(p.log?.segments), (p) => p.log?.health ?? format.NONE],
		['Queries', (p) => format.count(p.queries?.running), () => 'running'],
	];
	const percentOf = (part, whole) =>
		format.isNumber(part) && whole > 0 ? `${format.percent(part / whole)}` : format.NONE;

	const create = (section, state) => {
		const view = { length: 600e3, step: 1, zoom: null, quantile: 'p99', reasons: 'batches', cores: 0 };
		const shared = chart.cursor();
		const totals = h('span', { class: 'note totals' });
		const tiles = TILES.map(([name]) => {
			const value = h('dd', { class: 'big' }),
				below = h('dd', { class: 'small' });
			return { name, value, below, element: h('div', { class: 'tile' }, h('dt', { text: name }), value, below) };
		});
		const grid = h('div', { class: 'charts' });
		const cores = h('div', {});
		const live = h('button', {
			type: 'button',
			text: 'back to live',
			hidden: true,
			on: { click: () => zoom(null) },
		});
		const range = h('span', { class: 'note' });
		const names = Object.keys(RANGES).map((name) => [name, name]);
		const span = dom.choice('Range', names, '10 min', (name) => {
			[view.length, view.step] = RANGES[name];
			view.zoom = null;
			draw();
		});
		const charts = new Map();
		section.append(
			h(
				'dl',
				{ class: 'tiles', 'aria-label': 'The last second' },
				tiles.map(({ element }) => element),
			),
			h('div', { class: 'bar' }, span, range, totals, live),
			grid,
			h('h3', { text: 'Cores' }),
			cores,
		);

		const zoom = (to) => {
			view.zoom = to;
			live.hidden = !to;
			dom.announce(to ? `Showing ${format.clock(to.from)} to ${format.clock(to.to)}` : 'Live');
			draw();
		};

		const make = (id, options, cells) => {
			const extra = { select: (from, to) => zoom({ from, to }), shared, height: 150 };
			if (cells) Object.assign(extra, { kind: 'heat', legend: false });
			const made = chart.create({ ...options, ...extra });
			made.cells = cells;
			const caption = made.element.querySelector('figcaption');
			const pick = (label, list, key) =>
				dom.choice(label, list, view[key], (value) => {
					view[key] = value;
					draw();
				});
			if (id === 'stages')
				caption.insertBefore(pick('Quantile of the stages', QUANTILES, 'quantile'), caption.lastChild);
			if (id === 'refusals') caption.insertBefore(pick('Refusals of', REASONS, 'reasons'), caption.lastChild);
			return made;
		};

		// The range that is shown: up to the last point while they come, up to now when they do not.
		const shownRange = () => {
			if (view.zoom) return view.zoom;
			const points = state.points[view.step],
				clock = Date.now() + state.skew_ms;
			const last = points.length ? points[points.length - 1].t_ms : clock;
			const to = clock - last > 2.5 * view.step * 1000 ? clock : last;
			return { from: to - view.length, to };
		};

		const drawTiles = () => {
			const last = store.last(state),
				hello = state.hello ?? {};
			const fresh = last && Date.now() + state.skew_ms - last.t_ms < STALE_MS;
			TILES.forEach(([, value, below], index) => {
				text(tiles[index].value, fresh ? value(last) : format.NONE);
				text(tiles[index].below, fresh ? below(last, hello) || '\u00a0' : '\u00a0');
			});
		};

		const drawCharts = () => {
			const { from, to } = shownRange();
			// What is zoomed in to within the last minutes is there second by second.
			const fine = state.points[1],
				step = view.zoom && fine.length && fine[0].t_ms <= from ? 1 : view.step;
			const all = state.points[step],
				times = all.map(({ t_ms }) => t_ms);
			const points = all.slice(Math.max(0, scale.lowerBound(times, from) - 1), scale.lowerBound(times, to) + 1);
			const common = {
				from,
				to,
				step: step * 1000,
				gaps: scale.gaps(times, step * 1000, from, to),
				marks: state.marks,
				restarts: state.restarts,
			};
			text(range, `${format.moment(from)} … ${format.clock(to)}, ${step === 1 ? '1 s' : '1 min'} a point`);
			const total = (read) => {
				const known = points
					.filter((point) => point.t_ms > from && point.t_ms <= to)
					.map(read)
					.filter(format.isNumber);
				return format.exact(known.length ? known.reduce((a, b) => a + b, 0) : null);
			};
			text(
				totals,
				`${total((p) => p.requests)} requests, ${total((p) => p.metrics_stored)} metrics stored, ${total(refused)} refused`,
			);
			for (const [id, options, series] of CHARTS) {
				const list = series(points, view);
				const cells = (id === 'load' || id === 'turns') && view.cores > CORES_AS_LINES;
				let own = charts.get(id);
				if (id === 'forwards' && !list.length && !own) continue;
				if (own && Boolean(own.cells) !== cells) {
					own.remove();
					own = null;
				}
				if (!own) {
					own = make(id, options, cells);
					const next = CHARTS.slice(CHARTS.findIndex(([other]) => other === id) + 1)
						.map(([other]) => charts.get(other)?.element)
						.find(Boolean);
					grid.insertBefore(own.element, next ?? null);
					charts.set(id, own);
				}
				const columns = store.columns(
					points,
					list.map(([, read]) => read),
				);
				// Cells are shares of the largest value; loads are shares already.
				const largest =
					cells && id === 'turns'
						? Math.max(1, ...columns.flatMap(({ values }) => values.filter(format.isNumber)))
						: 1;
				own.update({
					...common,
					series: list.map(([name, , color, , short], index) => ({
						name,
						color,
						short,
						times: columns[index].times,
						values:
							largest === 1
								? columns[index].values
								: columns[index].values.map((value) => (value === null ? null : value / largest)),
					})),
				});
			}
		};

		const drawCores = () => {
			const last = store.last(state);
			const fresh = last && Date.now() + state.skew_ms - last.t_ms < STALE_MS;
			const rows = [];
			const bar = (ratio) => {
				const known = format.isNumber(ratio);
				const fill = h('span', {
					class: 'fill',
					style: { width: `${known ? Math.min(100, ratio * 100) : 0}%` },
				});
				return h(
					'span',
					{ class: 'load' },
					h('span', { class: 'track', 'aria-hidden': 'true' }, fill),
					h('span', { class: 'value', text: format.percent(known ? ratio : null) }),
				);
			};
			for (let index = 0; index < view.cores; index += 1) {
				const r = fresh ? last.reactors?.[index] : null;
				const used = r?.ring_bytes > 0 ? r.ring_used_bytes / r.ring_bytes : null;
				rows.push([
					`reactor-${index}`,
					bar(r?.busy),
					format.rate(r ? store.perSecond(last, r.turns) : null),
					format.count(r?.connections),
					bar(used),
					format.bytes(r?.ring_high_bytes),
					format.bytes(r?.ring_bytes),
				]);
			}
			const w = fresh ? last.writer : null;
			rows.push([
				'writer',
				bar(w?.busy),
				`${format.rate(w ? store.perSecond(last, w.writevs) : null)} writev`,
				'',
				'',
				'',
				'',
			]);
			const columns = ['thread', 'load', 'turns', 'connections', 'ring', 'high water', 'ring size'];
			const fresh_table = dom.table(
				'Cores: the last second',
				columns.map((name, index) => ({
					name,
					class: index && index !== 1 && index !== 4 ? 'number' : index ? 'meter' : '',
				})),
				rows,
			);
			if (cores.firstChild) cores.firstChild.replaceChildren(fresh_table);
			else cores.append(dom.scroller('Cores', fresh_table));
		};

		const draw = () => {
			if (section.hidden || document.visibilityState === 'hidden') return;
			view.cores = Math.max(state.hello?.reactors ?? 0, store.last(state)?.reactors?.length ?? 0);
			live.hidden = !view.zoom;
			drawTiles();
			drawCharts();
			drawCores();
		};

		return { draw };
	};

	return { create };
})();
