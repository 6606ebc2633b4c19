'use strict';
// The view Profile: samples the server, draws its flamegraph, and compares it with one before.
const profile = (() => {
	const { h, text } = dom;
	const ROW = 18,
		FONT = '11px',
		KEPT = 6,
		FUNCTIONS = 40,
		SECONDS_MAX = 60;
	const FILLS = { own: [36, 82, 66], library: [160, 38, 68], kernel: [206, 62, 74], unknown: [0, 0, 74] };
	const INK = '#15181b',
		MATCH = '#d47fb0';

	// The fill of a frame: its kind's hue, a little different from function to function.
	const fillOf = (name, kind) => {
		let hash = 7;
		for (let index = 0; index < name.length; index += 1) hash = (hash * 31 + name.charCodeAt(index)) >>> 0;
		const [hue, saturation, light] = FILLS[kind];
		return `hsl(${hue + (hash % 15) - 7} ${saturation}% ${light + (hash % 9) - 4}%)`;
	};

	// Blue is less than before, orange more; the stronger, the more.
	const fillOfDelta = (delta) => {
		const strength = Math.min(1, Math.abs(delta) * 12);
		return delta === 0 || strength < 0.02
			? 'hsl(0 0% 82%)'
			: `hsl(${delta > 0 ? 28 : 206} ${30 + 60 * strength}% ${82 - 18 * strength}%)`;
	};

	const signed = (ratio) => {
		const size = (Math.abs(ratio) * 100).toFixed(1);
		return `${size === '0.0' ? '±' : ratio < 0 ? '−' : '+'}${size} %`;
	};

	const create = (section, state, fetched) => {
		const profiles = [];
		let shown = null,
			before = null,
			focus = null,
			chosen = null,
			rectangles = [],
			query = null,
			running = false,
			depth = 0;

		const number = (label, value, low, high) => {
			const id = `profile-${label.toLowerCase()}`;
			const input = h('input', {
				id,
				type: 'number',
				min: String(low),
				max: String(high),
				value: String(value),
				required: true,
			});
			return { input, element: h('div', { class: 'field' }, h('label', { for: id, text: label }), input) };
		};
		const unit = ({ states }) => (states ? 'ms' : 'samples');
		const seconds = number('Seconds', 10, 1, SECONDS_MAX),
			hz = number('Hz', 199, 1, 1999);
		const mode = h(
			'select',
			{ id: 'profile-mode' },
			h('option', { value: 'on-cpu', text: 'stacks on a CPU' }),
			h('option', { value: 'states', text: 'states of threads' }),
		);
		const thread = h('select', { id: 'profile-thread' }, h('option', { value: '', text: 'all' }));
		const start = h('button', { type: 'submit', class: 'main', text: 'Start' });
		const progress = h('progress', { max: '1', value: '0', hidden: true, 'aria-label': 'Sampling' });
		const progress_text = h('span', { class: 'note' });
		const form = h(
			'form',
			{ class: 'query', 'aria-label': 'Profile' },
			h(
				'div',
				{ class: 'fields' },
				h('div', { class: 'field' }, h('label', { for: 'profile-mode', text: 'Show' }), mode),
				seconds.element,
				hz.element,
				h('div', { class: 'field' }, h('label', { for: 'profile-thread', text: 'Thread' }), thread),
				start,
				progress,
				progress_text,
			),
		);
		const problem = h('p', { class: 'problem', role: 'alert' });
		const intro = h('p', {
			class: 'empty',
			text: 'Samples the running server, without root and without perf. Nothing is sampled until you start.',
		});
		const facts = h('p', {}),
			unseen = h('p', { class: 'note' });
		const search = h('input', {
			id: 'profile-search',
			type: 'search',
			placeholder: 'expression',
			autocomplete: 'off',
			spellcheck: 'false',
		});
		const found = h('span', { class: 'note', role: 'status' });
		const against = h('select', { id: 'profile-against' });
		const which = h('select', { id: 'profile-which' });
		const whole = h('button', { type: 'button', text: 'whole graph', on: { click: () => zoom(shown.root) } });
		const canvas = h('canvas', { 'aria-hidden': 'true' });
		const box = h(
			'div',
			{
				class: 'flame',
				tabindex: '0',
				role: 'application',
				'aria-label':
					'Flamegraph. Up and down go to callees and callers, left and right to neighbours, ' +
					'Enter shows one frame as wide as all, Escape ends that, slash searches.',
			},
			canvas,
		);
		const detail = h('p', { class: 'detail', 'aria-live': 'polite' });
		const legend = h('ul', { class: 'legend' });
		const table = h('div', {});
		const save = h('button', { type: 'button', text: 'save folded stacks', on: { click: () => download() } });
		const line = h('code', {});
		const result = h(
			'div',
			{ hidden: true },
			facts,
			unseen,
			h(
				'div',
				{ class: 'fields' },
				h('div', { class: 'field' }, h('label', { for: 'profile-which', text: 'Profile' }), which),
				h('div', { class: 'field' }, h('label', { for: 'profile-against', text: 'Compared with' }), against),
				h('div', { class: 'field wide' }, h('label', { for: 'profile-search', text: 'Search' }), search),
				found,
				whole,
				save,
			),
			legend,
			box,
			detail,
			h('h3', { text: 'Functions by their own time' }),
			table,
			h(
				'div',
				{ class: 'commands' },
				h(
					'div',
					{},
					h('span', { class: 'label', text: 'curl' }),
					h(
						'div',
						{ class: 'command' },
						line,
						dom.copyButton(() => line.textContent, 'the curl command'),
					),
				),
			),
		);
		section.append(form, problem, intro, result);

		// ---- the graph ----
		const width = () => Math.max(50, box.clientWidth);
		const yOf = (own) => (depth - own.depth) * ROW;

		const drawGraph = () => {
			if (!shown || section.hidden) return;
			const wide = width(),
				laid = flame.layout(focus, 0.6 / wide);
			rectangles = laid.rectangles;
			depth = laid.depth;
			const tall = (depth + 1) * ROW,
				ratio = Math.min(3, devicePixelRatio || 1);
			canvas.width = Math.round(wide * ratio);
			canvas.height = Math.round(tall * ratio);
			canvas.style.height = `${tall}px`;
			const context = canvas.getContext('2d'),
				paint = chart.colors();
			context.setTransform(ratio, 0, 0, ratio, 0, 0);
			context.clearRect(0, 0, wide, tall);
			context.font = `${FONT} ${paint.font}`;
			context.textBaseline = 'middle';
			const letter = context.measureText('m').width;
			for (const { node, x, width: share, isAncestor } of rectangles) {
				const left = x * wide,
					w = share * wide,
					y = yOf(node);
				const matches = query && node.parent && query.test(node.name);
				context.globalAlpha = isAncestor ? 0.45 : query && !matches ? 0.55 : 1;
				context.fillStyle = matches
					? MATCH
					: before
						? fillOfDelta((node.value - node.before) / shown.total)
						: fillOf(node.name, node.parent ? flame.kindOf(node.name) : 'unknown');
				context.fillRect(left, y, Math.max(0.5, w - 0.5), ROW - 1);
				context.globalAlpha = 1;
				const letters = Math.floor((w - 6) / letter);
				if (letters >= 3) {
					context.fillStyle = isAncestor ? paint.text : INK;
					const name = node.name.length > letters ? `${node.name.slice(0, letters - 1)}…` : node.name;
					context.fillText(name, left + 3, y + ROW / 2);
				}
				if (node === chosen) {
					context.strokeStyle = paint.text;
					context.lineWidth = 2;
					context.strokeRect(left + 1, y + 1, Math.max(1, w - 2.5), ROW - 3);
				}
			}
		};

		const describe = (own) => {
			chosen = own;
			if (!own) return text(detail, '');
			const share = own.value / shown.total;
			const compared =
				own.before === null ? '' : `, ${signed(share - own.before / shown.total)} of all against before`;
			text(
				detail,
				`${own.name}: ${format.exact(own.value)} ${unit(shown)}, ${format.percent(share)} of all, ` +
					`${format.percent(own.self / shown.total)} in itself${compared}`,
			);
		};

		const pick = (own) => {
			describe(own);
			drawGraph();
			const y = yOf(own);
			if (y < box.scrollTop) box.scrollTop = y;
			if (y + ROW > box.scrollTop + box.clientHeight) box.scrollTop = y + ROW - box.clientHeight;
		};

		const zoom = (own) => {
			focus = own;
			pick(own);
		};

		const hit = (event) => {
			const bounds = canvas.getBoundingClientRect();
			const x = (event.clientX - bounds.left) / bounds.width,
				row = depth - Math.floor((event.clientY - bounds.top) / ROW);
			return (
				rectangles.find((one) => one.node.depth === row && x >= one.x && x < one.x + one.width)?.node ?? null
			);
		};
		canvas.addEventListener('pointermove', (event) => {
			const own = hit(event);
			canvas.title = own?.name ?? '';
			if (own && own !== chosen) {
				describe(own);
				drawGraph();
			}
		});
		canvas.addEventListener('click', (event) => {
			const own = hit(event);
			if (own) zoom(own === focus && own.parent ? own.parent : own);
		});

		box.addEventListener('keydown', (event) => {
			if (event.ctrlKey || event.metaKey || event.altKey) return;
			const own = chosen ?? focus;
			const siblings = own.parent ? flame.sorted(own.parent) : [own],
				at = siblings.indexOf(own);
			const moves = {
				ArrowUp: () => [...own.children.values()].sort((a, b) => b.value - a.value)[0],
				ArrowDown: () => own.parent,
				ArrowLeft: () => siblings[at - 1],
				ArrowRight: () => siblings[at + 1],
				Home: () => shown.root,
			};
			if (event.key === '/') search.focus();
			else if (event.key === 'Enter') zoom(own);
			else if (event.key === 'Escape') zoom(focus.parent ?? shown.root);
			else if (event.key in moves) {
				const next = moves[event.key]();
				if (next) {
					// A neighbour that the zoom does not show needs a wider one.
					if (!rectangles.some(({ node }) => node === next))
						focus = next.value / focus.value < 0.6 / width() ? next : shown.root;
					pick(next);
				}
			} else return;
			event.preventDefault();
		});

		search.addEventListener('input', () => {
			query = null;
			text(found, '');
			try {
				if (search.value) query = new RegExp(search.value, 'i');
			} catch {
				text(found, 'no expression yet');
			}
			if (query && shown) {
				const own = query;
				text(
					found,
					`${format.percent(flame.matched(shown.root, (name) => own.test(name)) / shown.total)} of the ${unit(shown)} match`,
				);
			}
			drawGraph();
		});

		// ---- what is around it ----
		const drawLegend = () => {
			const item = (color, name) =>
				h(
					'li',
					{},
					h('span', { class: 'swatch block', style: { 'border-color': color } }),
					h('span', { class: 'name', text: name }),
				);
			legend.replaceChildren(
				...(before
					? [
							item('hsl(28 90% 64%)', 'more than before'),
							item('hsl(0 0% 82%)', 'as before'),
							item('hsl(206 90% 64%)', 'less than before'),
						]
					: [
							item('hsl(36 82% 66%)', 'server'),
							item('hsl(160 38% 68%)', 'libraries'),
							item('hsl(206 62% 74%)', 'kernel'),
							item('hsl(0 0% 74%)', 'without a symbol'),
						]),
				item(MATCH, 'found'),
			);
		};

		const drawTable = () => {
			const list = flame.hottest(shown, before, FUNCTIONS);
			const columns = [
				{ name: 'self', class: 'number' },
				{ name: 'total', class: 'number' },
				...(before ? [{ name: 'change', class: 'number' }] : []),
				{ name: 'function', class: 'rest' },
			];
			table.replaceChildren(
				dom.scroller(
					'Functions by their own time',
					dom.table(
						'Functions by their own time',
						columns,
						list.map((one) => [
							format.percent(one.self),
							format.percent(one.total),
							...(before
								? [h('span', { class: one.delta > 0 ? 'grow' : 'shrink', text: signed(one.delta) })]
								: []),
							one.name,
						]),
					),
				),
			);
		};

		const name = (own) => `${format.clock(own.at)}, ${own.thread || 'all threads'}`;

		const fillSelects = () => {
			which.replaceChildren(
				...profiles.map((own, index) => h('option', { value: String(index), text: name(own) })),
			);
			which.value = String(profiles.indexOf(shown));
			against.replaceChildren(
				h('option', { value: '', text: 'nothing' }),
				...profiles
					.map((own, index) =>
						own === shown ? null : h('option', { value: String(index), text: name(own) }),
					)
					.filter(Boolean),
			);
			against.value = before ? String(profiles.indexOf(before)) : '';
		};

		const show = (own, other) => {
			[shown, before] = [own, other === own ? null : other];
			flame.compare(shown, before);
			focus = shown.root;
			result.hidden = false;
			intro.hidden = true;
			text(
				facts,
				(own.states
					? `${format.exact(own.total)} ms of ${own.thread || 'all threads'} in ${own.seconds} s`
					: `${format.exact(own.total)} samples in ${own.seconds} s at ${own.hz} Hz of ` +
						`${own.thread || 'all threads'}, ${format.exact(own.lost)} lost`) +
					`${own.skipped ? `, ${own.skipped} lines not understood` : ''}`,
			);
			const blind = [];
			if (own.kernel === false)
				blind.push(
					'kernel frames (root only, or kernel.perf_event_paranoid at 1 or lower): system calls end at the call',
				);
			const unknown = flame.matched(own.root, (frame) => flame.kindOf(frame) === 'unknown');
			if (unknown)
				blind.push(
					`functions without a symbol (${format.percent(unknown / own.total)} of the samples pass one)`,
				);
			if (own.truncated)
				blind.push(`the outermost frames of ${format.exact(own.truncated)} samples, whose stacks are deeper`);
			if (own.states) blind.push('stacks: of a thread that waits, the function of the kernel is known alone');
			else blind.push('time off the CPU, which the states of threads show: a thread that waits is not sampled');
			text(unseen, `Not seen: ${blind.join('; ')}.`);
			text(
				line,
				`curl -X POST -H 'Accept: image/svg+xml' '${location.origin}/debug/profile?${own.target}' -o profile.svg`,
			);
			fillSelects();
			drawLegend();
			drawTable();
			describe(own.total ? shown.root : null);
			drawGraph();
			box.scrollTop = box.scrollHeight;
			search.dispatchEvent(new Event('input'));
		};
		which.addEventListener('change', () => show(profiles[Number(which.value)], before));
		against.addEventListener('change', () => show(shown, profiles[Number(against.value || NaN)] ?? null));

		const download = () => {
			const url = URL.createObjectURL(new Blob([shown.folded], { type: 'text/plain' }));
			const link = h('a', {
				href: url,
				download: `metricstream-${format.moment(shown.at).replaceAll(/[ :]/g, '-')}.folded`,
			});
			link.click();
			setTimeout(() => URL.revokeObjectURL(url), 1000);
		};

		// ---- sampling ----
		form.addEventListener('submit', async (event) => {
			event.preventDefault();
			if (running) return;
			running = start.disabled = true;
			const of_thread = thread.value ? `&thread=${encodeURIComponent(thread.value)}` : '';
			const states = mode.value === 'states';
			const target = `${states ? 'mode=states&' : ''}seconds=${seconds.input.value}&hz=${hz.input.value}${of_thread}`;
			const began = performance.now(),
				length = Number(seconds.input.value);
			progress.hidden = false;
			const tick = () => {
				const passed = (performance.now() - began) / 1000;
				progress.value = Math.min(1, passed / length);
				text(progress_text, passed < length ? `${Math.ceil(length - passed)} s left` : 'reading symbols');
			};
			const timer = setInterval(tick, 250);
			tick();
			text(problem, '');
			try {
				const response = await fetched(`/debug/profile?${target}`, {
					method: 'POST',
					headers: { Accept: 'text/plain' },
				});
				const folded = await response.text(),
					header = response.headers.get('X-MetricsStream-Profile') ?? '';
				const said = (key) => new RegExp(`${key}=(\\w+)`).exec(header)?.[1] ?? null;
				const own = {
					...flame.parse(folded),
					folded,
					target,
					at: Date.now(),
					seconds: length,
					hz: Number(hz.input.value),
					thread: thread.value,
					states,
					lost: said('lost') === null ? null : Number(said('lost')),
					truncated: Number(said('truncated') ?? 0),
					kernel: said('kernel') === null ? null : said('kernel') === 'yes',
				};
				if (!own.total)
					throw new Error(
						'No sample was taken: nothing ran on a CPU. Put the server under load, or sample for longer.',
					);
				const earlier = profiles[profiles.length - 1] ?? null;
				profiles.push(own);
				profiles.splice(0, profiles.length - KEPT);
				show(own, earlier?.thread === own.thread && earlier.states === states && against.value !== '' ? earlier : null);
				dom.announce(`Profile of ${own.total} ${unit(own)}`);
				box.focus();
			} catch (error) {
				text(problem, error.message);
			}
			clearInterval(timer);
			progress.hidden = true;
			text(progress_text, '');
			running = start.disabled = false;
		});

		const draw = () => {
			const names = [
				'',
				...Array.from({ length: state.hello?.reactors ?? 0 }, (_, index) => `reactor-${index}`),
				'writer',
			];
			if (thread.options.length !== names.length) {
				const value = thread.value;
				thread.replaceChildren(...names.map((own) => h('option', { value: own, text: own || 'all' })));
				thread.value = names.includes(value) ? value : '';
			}
			if (state.hello?.profile === false && !profiles.length) {
				text(intro, 'This server does not sample itself: it was started without, or the host forbids it.');
				start.disabled = true;
			}
		};
		new ResizeObserver(() => drawGraph()).observe(box);

		return { draw, restyle: drawGraph };
	};

	return { create, fillOf, fillOfDelta };
})();
