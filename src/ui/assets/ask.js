'use strict';
// The view Ask: a query of the stored metrics, as a chart, a table and the two commands that do the same. What is shown
// stands in the hash of the URL with the parameters of QUERY.md.
const ask = (() => {
	const { h, text } = dom;
	const AGGREGATES = [
		'avg',
		'min',
		'max',
		'sum',
		'count',
		'first',
		'last',
		'stddev',
		'p50',
		'p90',
		'p95',
		'p99',
		'p99.9',
		'rate',
		'increase',
		'raw',
	];
	const ORDERS = [
		['name', 'name'],
		['-value', 'highest first'],
		['value', 'lowest first'],
		['-name', 'name, reversed'],
	];
	const OPERATORS = ['=', '!=', '=~', '!~'];
	const PRESETS = ['15m', '1h', '6h', '24h', '7d'];
	const UNITS = { ms: 1, s: 1e3, m: 60e3, h: 3600e3, d: 86400e3, w: 7 * 86400e3 };
	// Series beyond this are not drawn; buckets beyond this are narrower than what a chart can show.
	const SERIES_DEFAULT = 20,
		BUCKETS = 240,
		RAW_POINTS = 2000,
		COMPLETIONS = 50,
		SERIES_SEEN = 500;
	const TYPING_MS = 160;

	// A span such as 1h30m in milliseconds; null if it is none.
	const spanOf = (words) => {
		const parts = words.match(/\d+(\.\d+)?(ms|[smhdw])/g);
		if (!parts || parts.join('') !== words) return null;
		return parts.reduce((sum, part) => sum + parseFloat(part) * UNITS[part.match(/[a-z]+/)[0]], 0);
	};

	// A time as QUERY.md has them, in epoch milliseconds; null if it is none.
	const timeOf = (words, at) => {
		if (words === 'now') return at;
		const relative = /^([+-])(.+)$/.exec(words);
		if (relative) {
			const span = spanOf(relative[2]);
			return span === null ? null : at + (relative[1] === '-' ? -span : span);
		}
		if (/^\d{12,}$/.test(words)) return Number(words);
		if (/^\d{9,10}(\.\d+)?$/.test(words)) return Math.round(Number(words) * 1000);
		const parsed = Date.parse(words);
		return /\d-\d/.test(words) && Number.isFinite(parsed) ? parsed : null;
	};

	// A length in milliseconds as a step: 90000 is 90s.
	const stepText = (ms) => {
		const unit = ['d', 'h', 'm', 's'].find((name) => ms % UNITS[name] === 0);
		return unit ? `${ms / UNITS[unit]}${unit}` : `${ms}ms`;
	};

	const encode = (parameters) =>
		parameters.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).join('&');

	const decode = (query) =>
		query
			.split('&')
			.filter(Boolean)
			.map((pair) => {
				const [name, value = ''] = [
					pair.slice(0, pair.indexOf('=') < 0 ? undefined : pair.indexOf('=')),
					pair.includes('=') ? pair.slice(pair.indexOf('=') + 1) : '',
				];
				const plain = (part) => {
					try {
						return decodeURIComponent(part.replaceAll('+', ' '));
					} catch {
						return part;
					}
				};
				return [plain(name), plain(value)];
			});

	// A word of a shell, quoted if it has to be.
	const quoted = (word) => (/^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

	const curl = (origin, parameters, key) =>
		[
			'curl -G',
			quoted(`${origin}/query`),
			key ? '-H "Authorization: Bearer $KEY"' : '',
			...parameters.map(([name, value]) => `--data-urlencode ${quoted(`${name}=${value}`)}`),
		]
			.filter(Boolean)
			.join(' ');

	const command = (parameters) => `metricstream query ${quoted(encode(parameters))}`;

	// A number keeps its digits as they were stored where a double would lose them.
	const parse = (json) => {
		const exact = new Map();
		const document = JSON.parse(json, (_, value, context) => {
			if (typeof value === 'number' && context?.source && String(value) !== context.source)
				exact.set(value, context.source);
			return value;
		});
		return { document, exact };
	};

	const escaped = (words) => words.replace(/[.*+?()[\]{}|^$\\]/g, '\\$&');

	const create = (section, fetched, key) => {
		let ids = 0,
			shown = null,
			running = null,
			keys = [],
			last_query = null;
		const field = (label, input, kind = '') => {
			input.id ||= `ask-${(ids += 1)}`;
			return h('div', { class: `field ${kind}` }, h('label', { for: input.id, text: label }), input);
		};
		const list = (id) => h('datalist', { id });
		const input = (props) =>
			h('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', ...props });
		const select = (options) =>
			h(
				'select',
				{},
				options.map(([value, label]) => h('option', { value, text: label })),
			);

		const names = list('ask-names'),
			tag_keys = list('ask-keys');
		const name = input({
			list: 'ask-names',
			placeholder: 'cpu_usage, or ~cpu_.* as an expression',
			required: true,
			size: '34',
		});
		const aggregate = select(AGGREGATES.map((value) => [value, value]));
		const by = input({ list: 'ask-keys', placeholder: 'host,dc or *', size: '16' });
		const step = input({ placeholder: 'auto', size: '6' });
		const from = input({ size: '22', value: '-1h' }),
			to = input({ size: '22', placeholder: 'now' });
		const limit = input({ size: '5', inputmode: 'numeric', value: String(SERIES_DEFAULT) });
		const order = select(ORDERS);
		const filters = h('div', { class: 'filters' });
		const chips = h('div', { class: 'bar', role: 'group', 'aria-label': 'Tags to group by' });
		const run = h('button', { type: 'submit', class: 'main', text: 'Ask' });
		const presets = h(
			'div',
			{ class: 'bar', role: 'group', 'aria-label': 'Range' },
			PRESETS.map((span) =>
				h('button', {
					type: 'button',
					class: 'quiet',
					text: span,
					'aria-label': `The last ${span}`,
					on: {
						click: () => {
							from.value = `-${span}`;
							to.value = '';
							submit();
						},
					},
				}),
			),
		);
		const form = h(
			'form',
			{ class: 'query', 'aria-label': 'Query' },
			h(
				'div',
				{ class: 'fields' },
				field('Name', name, 'wide'),
				field('Aggregate', aggregate),
				field('By', by),
				field('Step', step),
				field('Order', order),
				field('Series', limit),
				run,
			),
			filters,
			h(
				'div',
				{ class: 'fields' },
				field('From', from),
				field('To', to),
				presets,
				h('button', {
					type: 'button',
					class: 'quiet',
					text: '+ filter by a tag',
					on: { click: () => addFilter('', '=', '').key.focus() },
				}),
			),
			chips,
			names,
			tag_keys,
		);
		const problem = h('p', { class: 'problem', role: 'alert' });
		const cost = h('p', { class: 'note', role: 'status' });
		const plot = chart.create({
			title: 'Result',
			height: 300,
			show: format.value,
			tick: format.count,
			toggles: true,
			floor: null,
			select: (begin, end) => {
				from.value = String(Math.round(begin));
				to.value = String(Math.round(end));
				submit();
			},
		});
		const table = h('div', {});
		const line_curl = h('code', {}),
			line_command = h('code', {}),
			line_url = h('code', {});
		const commands = h(
			'div',
			{ class: 'commands' },
			[
				['curl', line_curl, 'the curl command'],
				['command', line_command, 'the metricstream query command'],
				['link', line_url, 'the link'],
			].map(([label, code, spoken]) =>
				h(
					'div',
					{},
					h('span', { class: 'label', text: label }),
					h(
						'div',
						{ class: 'command' },
						code,
						dom.copyButton(() => code.textContent, spoken),
					),
				),
			),
		);
		const result = h('div', { hidden: true }, plot.element, commands, table);
		section.append(form, problem, cost, result);

		// ---- completion ----
		const fill = (datalist, values) => datalist.replaceChildren(...values.map((value) => h('option', { value })));
		const soon = (run) => {
			let timer = 0;
			return () => {
				clearTimeout(timer);
				timer = setTimeout(() => run().catch(() => {}), TYPING_MS);
			};
		};
		const json = async (target) => (await fetched(target)).json();
		const rangeParameters = () => [
			['from', from.value.trim() || '-1h'],
			...(to.value.trim() ? [['to', to.value.trim()]] : []),
		];
		const completeNames = soon(async () => {
			const typed = name.value.trim();
			if (typed.startsWith('~')) return;
			// The range of the form may be empty of it: a name of the last week is worth showing too.
			const found = await json(
				`/names?${encode([
					['name', `~.*${escaped(typed)}.*`],
					['from', '-7d'],
					['limit', String(COMPLETIONS)],
				])}`,
			);
			fill(names, found.names);
		});
		let keys_of = null;
		const completeKeys = soon(async () => {
			const of = name.value.trim();
			if (!of || of === keys_of) return;
			const found = await json(
				`/series?${encode([
					['name', of],
					['from', '-7d'],
					['limit', String(SERIES_SEEN)],
				])}`,
			);
			keys_of = of;
			keys = [...new Set(found.series.flatMap(({ tags }) => Object.keys(tags)))].sort();
			fill(tag_keys, keys);
			drawChips();
		});
		const completeValues = (row) =>
			soon(async () => {
				const tag = row.key.value.trim();
				if (!tag) return;
				const typed = row.value.value.trim();
				const own = name.value.trim() ? [['name', name.value.trim()]] : [];
				const matching = typed ? [[`tag.${tag}`, `~.*${escaped(typed)}.*`]] : [];
				const wanted = [...own, ...matching, ['from', '-7d'], ['limit', String(COMPLETIONS)]];
				const found = await json(`/tags/${encodeURIComponent(tag)}?${encode(wanted)}`);
				fill(row.values, found.values);
			});

		const addFilter = (tag, operator, value) => {
			const values = list(`ask-values-${(ids += 1)}`);
			const row = {
				key: input({ list: 'ask-keys', placeholder: 'tag', 'aria-label': 'Tag', size: '14', value: tag }),
				operator: select(OPERATORS.map((one) => [one, one])),
				value: input({
					list: values.id,
					placeholder: 'value',
					'aria-label': 'Value of the tag',
					size: '22',
					value,
				}),
				values,
			};
			row.operator.setAttribute('aria-label', 'Comparison');
			row.operator.value = operator;
			const complete = completeValues(row);
			row.value.addEventListener('focus', complete);
			row.value.addEventListener('input', complete);
			row.key.addEventListener('focus', completeKeys);
			row.element = h(
				'div',
				{ class: 'filter' },
				row.key,
				row.operator,
				row.value,
				values,
				h('button', {
					type: 'button',
					class: 'quiet',
					text: 'remove',
					'aria-label': 'Remove this filter',
					on: {
						click: () => {
							row.element.remove();
							rows.splice(rows.indexOf(row), 1);
							name.focus();
						},
					},
				}),
			);
			rows.push(row);
			filters.append(row.element);
			return row;
		};
		const rows = [];

		const grouped = () =>
			by.value
				.split(',')
				.map((part) => part.trim())
				.filter(Boolean);
		const drawChips = () => {
			const chosen = grouped();
			chips.hidden = !keys.length;
			chips.replaceChildren(
				h('span', { class: 'note', text: 'by' }),
				...keys.slice(0, 24).map((tag) =>
					h('button', {
						type: 'button',
						class: 'quiet',
						'aria-pressed': String(chosen.includes(tag)),
						'aria-expanded': null,
						text: `${chosen.includes(tag) ? '●' : '○'} ${tag}`,
						on: {
							click: () => {
								const rest = grouped().filter((one) => one !== tag && one !== '*');
								by.value = (chosen.includes(tag) ? rest : [...rest, tag]).join(',');
								drawChips();
								[...chips.querySelectorAll('button')]
									.find((button) => button.textContent.endsWith(` ${tag}`))
									?.focus();
								if (shown !== null) submit();
							},
						},
					}),
				),
			);
		};

		name.addEventListener('focus', completeNames);
		name.addEventListener('input', completeNames);
		name.addEventListener('change', completeKeys);
		by.addEventListener('focus', completeKeys);
		by.addEventListener('change', drawChips);

		// ---- the form and the parameters ----
		// The step for the range of the form; none if the range is no range.
		const autoStep = () => {
			const at = Date.now(),
				begin = timeOf(from.value.trim() || '-1h', at),
				end = timeOf(to.value.trim() || 'now', at);
			return begin !== null && end !== null && end > begin ? stepText(scale.bucket(end - begin, BUCKETS)) : null;
		};
		const parameters = () => {
			const found = [['name', name.value.trim()]];
			for (const row of rows) {
				const tag = row.key.value.trim();
				if (!tag) continue;
				const operator = row.operator.value;
				found.push([
					`tag.${tag}${operator.startsWith('!') ? '!' : ''}`,
					`${operator.endsWith('~') ? '~' : ''}${row.value.value}`,
				]);
			}
			found.push(['agg', aggregate.value]);
			if (by.value.trim()) found.push(['by', grouped().join(',')]);
			found.push(...rangeParameters());
			if (aggregate.value === 'raw') found.push(['points', String(RAW_POINTS)]);
			else if (step.value.trim()) found.push(['step', step.value.trim()]);
			else if (autoStep()) found.push(['step', autoStep()]);
			if (order.value !== 'name') found.push(['order', order.value]);
			if (limit.value.trim()) found.push(['limit', limit.value.trim()]);
			return found;
		};

		const set = (query) => {
			const found = decode(query);
			const one = (wanted, otherwise) => found.find(([own]) => own === wanted)?.[1] ?? otherwise;
			name.value = one('name', '');
			aggregate.value = AGGREGATES.includes(one('agg', 'avg')) ? one('agg', 'avg') : 'avg';
			by.value = found
				.filter(([own]) => own === 'by')
				.map(([, value]) => value)
				.join(',');
			from.value = one('from', '-1h');
			to.value = one('to', '');
			// A step that was computed must not stay when the range changes.
			step.value = one('step', '') === autoStep() ? '' : one('step', '');
			limit.value = one('limit', String(SERIES_DEFAULT));
			order.value = ORDERS.some(([value]) => value === one('order')) ? one('order') : 'name';
			while (rows.length) rows.pop().element.remove();
			for (const [own, value] of found) {
				if (!own.startsWith('tag.')) continue;
				const negated = own.endsWith('!'),
					expression = value.startsWith('~');
				addFilter(
					own.slice(4, negated ? -1 : undefined),
					`${negated ? '!' : expression ? '=' : ''}${expression ? '~' : '='}`,
					value.slice(expression ? 1 : 0),
				);
			}
		};

		const submit = () => {
			if (!name.value.trim()) return name.focus();
			const query = encode(parameters());
			if (location.hash === `#ask?${query}`) ask_now(query);
			else location.hash = `ask?${query}`;
		};
		form.addEventListener('submit', (event) => {
			event.preventDefault();
			submit();
		});
		for (const changed of [aggregate, order]) changed.addEventListener('change', () => shown !== null && submit());

		// ---- the result ----
		const seriesName = ({ name: own, tags }) => {
			const pairs = Object.entries(tags);
			return pairs.length ? `${own}{${pairs.map(([tag, value]) => `${tag}=${value}`).join(', ')}}` : own;
		};
		const seriesLabel = (one, several) => {
			const pairs = Object.entries(one.tags);
			if (!pairs.length) return one.name;
			return several
				? seriesName(one)
				: pairs.map(([tag, value]) => (pairs.length > 1 ? `${tag}=${value}` : value)).join(', ');
		};

		const ask_now = async (query) => {
			running?.abort();
			const control = (running = new AbortController());
			const found = decode(query),
				at = Date.now();
			text(problem, '');
			text(cost, 'asking …');
			run.disabled = true;
			try {
				const { document: response, exact } = parse(
					await (await fetched(`/query?${query}`, { signal: control.signal })).text(),
				);
				if (control !== running) return;
				shown = query;
				drawResult(response, exact, found, at);
			} catch (error) {
				if (control !== running) return;
				text(cost, '');
				text(problem, error.message);
			}
			run.disabled = false;
		};

		const drawResult = (response, exact, found, at) => {
			const one = (wanted) => found.find(([own]) => own === wanted)?.[1];
			const end = timeOf(one('to') ?? 'now', at) ?? at,
				begin = timeOf(one('from') ?? '-1h', at) ?? end - 3600e3;
			const several = new Set(response.series.map(({ name: own }) => own)).size > 1;
			const spelled = (value) => exact.get(value) ?? format.value(value);
			const step_ms = spanOf(one('step') ?? '') ?? 0,
				isRaw = one('agg') === 'raw';
			const series = response.series.map((own) => {
				const times = own.points.map(([t]) => t),
					values = own.points.map(([, value]) => value);
				return {
					name: seriesName(own),
					label: seriesLabel(own, several),
					times,
					values,
					step: Math.max(step_ms, scale.interval(times)),
				};
			});
			// Without a step there is one bucket: its value is that of the whole range.
			const drawn =
				step_ms || isRaw
					? series
					: series.map((own) => ({
							...own,
							times: [begin, end],
							values: [own.values[0], own.values[0]],
							step: 0,
						}));
			result.hidden = false;
			plot.update({ from: begin, to: end, step: step_ms, series: drawn });
			const stats = response.stats ?? {};
			const elapsed = format.isNumber(stats.elapsed_ms) ? stats.elapsed_ms * 1000 : null;
			const parts = [
				`${format.exact(stats.series ?? series.length)} series`,
				`${format.exact(stats.points)} points from ${format.exact(stats.matched_metrics)} metrics`,
				`${format.bytes(stats.scanned_bytes)} scanned in ${format.duration(elapsed)}`,
			];
			if (stats.left_out_series)
				parts.push(`${format.exact(stats.left_out_series)} series left out by the limit`);
			if (stats.non_finite_metrics)
				parts.push(`${format.exact(stats.non_finite_metrics)} values not finite, skipped`);
			text(cost, parts.join(', '));
			const columns = [
				{ name: 'series', class: 'rest' },
				...['points', 'lowest', 'highest', 'last'].map((own) => ({ name: own, class: 'number' })),
				{ name: 'at', class: 'number' },
			];
			table.replaceChildren(
				series.length
					? dom.scroller(
							'Series of the result',
							dom.table(
								'Series of the result',
								columns,
								series.map((own) => {
									const [low, high] = scale.extent([own], -Infinity, Infinity),
										end_index = own.times.length - 1;
									return [
										own.name,
										format.exact(own.times.length),
										spelled(low),
										spelled(high),
										spelled(own.values[end_index]),
										format.moment(own.times[end_index]),
									];
								}),
							),
						)
					: h('p', { class: 'empty', text: 'Nothing is stored for this name, these tags and this time.' }),
			);
			text(line_curl, curl(location.origin, found, key()));
			text(line_command, command(found));
			text(line_url, location.href);
		};

		const open = (query) => {
			if (!query) {
				completeNames();
				return;
			}
			if (query === last_query && shown !== null) return;
			last_query = query;
			set(query);
			drawChips();
			completeKeys();
			ask_now(query);
		};

		return { open };
	};

	return { create, spanOf, timeOf, stepText, encode, decode, quoted, curl, command, parse };
})();
