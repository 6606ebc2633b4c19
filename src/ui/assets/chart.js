'use strict';
// A chart on a canvas: lines, layers or rows of cells over a time axis. Gaps stay gaps; the cursor is an element of its
// own above the canvas, so that moving it draws nothing anew. To assistive technology a chart is a slider over time
// whose value is the text of what stands there, with a summary and a table beside it.
const chart = (() => {
	const { h, text } = dom;
	const GUTTER = 60,
		RIGHT = 8,
		TOP = 8,
		BOTTOM = 20,
		FONT_PX = 11;
	// Eight colours after Okabe and Ito, the darker or lighter ones where contrast needs it (style.css); series beyond
	// repeat them dashed.
	const COLORS = 8;
	const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];
	const TABLE_ROWS = 30;
	const MARK_ROWS = 3;
	let palette = null,
		sequence = 0;
	const all = new Set();

	// The colours of the theme as canvas takes them: read once, and again when the theme changes.
	const colors = () => {
		if (palette) return palette;
		const probe = h('span', { hidden: true });
		document.body.append(probe);
		const read = (name) => {
			probe.style.color = `var(--${name})`;
			return getComputedStyle(probe).color;
		};
		palette = { series: [] };
		for (let index = 0; index < COLORS; index += 1) palette.series.push(read(`s${index}`));
		for (const name of ['text', 'dim', 'line', 'faint', 'ground', 'mark', 'hatch']) palette[name] = read(name);
		palette.font = getComputedStyle(document.body).fontFamily;
		probe.remove();
		return palette;
	};

	const restyle = () => {
		palette = null;
		for (const own of all) own.redraw();
	};

	// A cursor that several charts share: a time, or null.
	const cursor = () => {
		const listeners = new Set();
		const own = {
			t: null,
			set: (t) => {
				if (own.t === t) return;
				own.t = t;
				for (const run of listeners) run();
			},
			listen: (run) => listeners.add(run),
			unlisten: (run) => listeners.delete(run),
		};
		return own;
	};

	const hatching = (context, color) => {
		const tile = document.createElement('canvas');
		tile.width = tile.height = 8;
		const draw = tile.getContext('2d');
		draw.strokeStyle = color;
		draw.lineWidth = 1;
		draw.beginPath();
		for (const shift of [-8, 0, 8]) {
			draw.moveTo(shift, 8);
			draw.lineTo(shift + 8, 0);
		}
		draw.stroke();
		return context.createPattern(tile, 'repeat');
	};

	// `kind`: line, stack or heat; `log`, `binary`: the axis; `show`: value to text; `tick`: value to a shorter text;
	// `select(from, to)`: a range was chosen; `toggles`: series can be hidden by the legend.
	// As much of a text as fits, with an ellipsis for the rest; nothing, if that is too little to be read.
	const shorten = (context, text, wide) => {
		if (context.measureText(text).width <= wide) return text;
		let length = text.length - 1;
		while (length > 0 && context.measureText(`${text.slice(0, length)}…`).width > wide) length -= 1;
		return length >= 3 ? `${text.slice(0, length)}…` : '';
	};

	const create = ({
		title,
		note = '',
		kind = 'line',
		log = false,
		binary = false,
		show = format.count,
		tick = show,
		height = 150,
		shared = cursor(),
		select = null,
		toggles = false,
		legend: hasLegend = true,
		floor = 0,
		ceiling = null,
	}) => {
		const label = `chart-${(sequence += 1)}`;
		const canvas = h('canvas', { 'aria-hidden': 'true' });
		const line = h('div', { class: 'cursor', hidden: true });
		const range = h('div', { class: 'selection', hidden: true });
		const summary = h('p', { class: 'offscreen', id: `${label}-summary` });
		const at = h('span', { class: 'at' });
		const plot = h(
			'div',
			{
				class: 'plot',
				tabindex: '0',
				role: 'slider',
				'aria-label': `${title}${note ? `, ${note}` : ''}: time`,
				'aria-describedby': `${label}-summary`,
				'aria-valuemin': '0',
				'aria-valuemax': '0',
				'aria-valuenow': '0',
			},
			canvas,
			range,
			line,
		);
		plot.style.height = `${height}px`;
		const legend = h('ul', { class: 'legend' });
		const values = h('div', { class: 'values', hidden: true });
		const toggle = h('button', {
			type: 'button',
			class: 'quiet',
			'aria-expanded': 'false',
			'aria-label': `${title}: table`,
			text: 'table',
		});
		const element = h(
			'figure',
			{ class: 'chart' },
			h('figcaption', {}, h('h3', { text: title }), h('span', { class: 'note', text: note }), at, toggle),
			plot,
			hasLegend ? legend : null,
			summary,
			values,
		);

		let data = { from: 0, to: 1, step: 0, series: [], gaps: [], marks: [], restarts: [] };
		let size = { width: 0, height: 0 },
			frame = 0,
			top = null,
			items = [],
			drag = null,
			picked = null;
		const hidden = new Set();

		const inner = () => Math.max(1, size.width - GUTTER - RIGHT);
		const toX = (t) => GUTTER + ((t - data.from) / (data.to - data.from)) * inner();
		const toT = (x) =>
			data.from +
			((Math.min(Math.max(x, GUTTER), size.width - RIGHT) - GUTTER) / inner()) * (data.to - data.from);
		const shown = () => data.series.filter(({ name }) => !hidden.has(name));
		const colorOf = (series, index) => colors().series[(series.color ?? index) % COLORS];

		// The index of what the legend shows of a series: at the cursor, or last. -1: nothing is known there.
		const indexAt = ({ times, step = data.step }) => {
			if (toggles && shared.t === null) return times.length - 1;
			const t = shared.t ?? data.to;
			const near = scale.nearest(times, t);
			const reach = step > 0 ? step * (shared.t === null ? 3.25 : 1) : (data.to - data.from) / 50;
			return near >= 0 && Math.abs(times[near] - t) <= reach ? near : -1;
		};

		const textAt = (series) => {
			const near = indexAt(series);
			return near < 0 ? format.NONE : (series.texts?.[near] ?? show(series.values[near]));
		};

		// The axis from top to bottom. It shrinks only when half of it would be empty: numbers that do not jump.
		const axis = () => {
			const visible = shown();
			if (kind === 'heat') return { min: 0, max: visible.length || 1, ticks: [] };
			const layers =
				kind === 'stack'
					? data.layers.sums.map((sums) => ({ times: data.layers.times, values: sums }))
					: visible;
			let [low, high] = scale.extent(layers, data.from, data.to, log);
			if (low === null) [low, high] = [log ? 1 : 0, log ? 1000 : 1];
			if (ceiling !== null) high = Math.max(high, ceiling);
			if (log) return scale.log(low, high);
			low = floor === null ? low : Math.min(floor, low);
			if (top !== null && high <= top && high > top * 0.45) high = top;
			top = high;
			return scale.linear(low, high, height < 120 ? 3 : 4, binary);
		};

		const yOf = (ticks) => {
			const bottom = size.height - BOTTOM,
				tall = bottom - TOP;
			if (log) {
				const low = Math.log10(ticks.min),
					wide = Math.log10(ticks.max) - low;
				return (value) => bottom - ((Math.log10(value) - low) / wide) * tall;
			}
			return (value) => bottom - ((value - ticks.min) / (ticks.max - ticks.min)) * tall;
		};

		const grid = (context, ticks, y, paint) => {
			context.font = `${FONT_PX}px ${paint.font}`;
			context.textBaseline = 'middle';
			context.textAlign = 'right';
			context.lineWidth = 1;
			for (const value of ticks.ticks) {
				const at_y = Math.round(y(value)) + 0.5;
				context.strokeStyle = value === ticks.min ? paint.line : paint.faint;
				context.beginPath();
				context.moveTo(GUTTER, at_y);
				context.lineTo(size.width - RIGHT, at_y);
				context.stroke();
				context.fillStyle = paint.dim;
				context.fillText(format.short(tick(value)), GUTTER - 6, at_y);
			}
			const { step, ticks: times } = scale.time(data.from, data.to, inner() / 62);
			context.textBaseline = 'top';
			context.textAlign = 'center';
			for (const t of times) {
				const x = Math.round(toX(t)) + 0.5;
				context.strokeStyle = paint.faint;
				context.beginPath();
				context.moveTo(x, TOP);
				context.lineTo(x, size.height - BOTTOM + 3);
				context.stroke();
				const shownTime =
					step >= 86400e3 || (format.clock(t, 60e3) === '00:00' && step >= 60e3)
						? format.day(t).slice(5)
						: format.clock(t, step);
				const half = context.measureText(shownTime).width / 2;
				if (x + half <= size.width && x - half >= 0) {
					context.fillStyle = paint.dim;
					context.fillText(shownTime, x, size.height - BOTTOM + 6);
				}
			}
		};

		// The marks that are in the range, and their part of it.
		const spans = () =>
			data.marks
				.map((mark) => ({
					mark,
					begin: Math.max(mark.from_ms, data.from),
					end: Math.min(mark.to_ms ?? data.to, data.to),
				}))
				.filter(({ begin, end }) => end > begin);
		const markName = ({ name, end }) => (end === 'unknown' ? `${name} (end unknown)` : name);

		const backgrounds = (context, paint) => {
			const low = size.height - BOTTOM;
			const marked = spans(),
				rows = scale.rows(marked);
			marked.forEach(({ mark, begin, end }, index) => {
				const x = toX(begin),
					wide = Math.max(1, toX(end) - x);
				context.fillStyle = paint.mark;
				context.fillRect(x, TOP, wide, low - TOP);
				// Not in a colour of a series: the edge is no value.
				context.fillStyle = paint.line;
				if (mark.from_ms >= data.from) context.fillRect(Math.round(x), TOP, 1, low - TOP);
				if (mark.to_ms !== null && mark.to_ms <= data.to)
					context.fillRect(Math.round(x + wide) - 1, TOP, 1, low - TOP);
				context.fillStyle = paint.dim;
				context.font = `${FONT_PX}px ${paint.font}`;
				context.textBaseline = 'top';
				context.textAlign = 'left';
				const name = shorten(context, markName(mark), wide - 6);
				context.fillText(name, x + 3, TOP + 2 + (rows[index] % MARK_ROWS) * (FONT_PX + 2));
			});
			if (data.gaps.length) context.fillStyle = hatching(context, paint.hatch);
			for (const [begin, end] of data.gaps) context.fillRect(toX(begin), TOP, toX(end) - toX(begin), low - TOP);
		};

		const drawLine = (context, series, y, color, dash) => {
			const { times, values: all_values } = series;
			const first = Math.max(0, scale.lowerBound(times, data.from) - 1);
			const last = Math.min(times.length, scale.lowerBound(times, data.to) + 1);
			const drawable = log ? (value) => value > 0 : () => true;
			context.strokeStyle = context.fillStyle = color;
			context.lineWidth = 1.5;
			context.lineJoin = 'round';
			context.setLineDash(dash);
			const own = log ? all_values.map((value) => (drawable(value) ? value : null)) : all_values;
			for (const [begin, end] of scale.runs(times, own, series.step ?? data.step, first, last)) {
				if (end - begin === 1) {
					context.beginPath();
					context.arc(toX(times[begin]), y(own[begin]), 1.75, 0, 7);
					context.fill();
					continue;
				}
				context.beginPath();
				for (const index of scale.downsample(times, own, begin, end, data.from, data.to, inner()))
					context.lineTo(toX(times[index]), y(own[index]));
				context.stroke();
			}
			context.setLineDash([]);
		};

		const drawLayer = (context, place, y, color) => {
			const { times, sums, step } = data.layers;
			const [lower, upper] = [sums[place - 1], sums[place]];
			for (const [begin, end] of scale.runs(times, upper, step)) {
				context.fillStyle = color;
				context.beginPath();
				// A point stands for the span before it: it is a step, and one point alone is a bar.
				const left = (index) => toX(index > begin ? times[index - 1] : times[index] - step);
				for (let index = begin; index < end; index += 1) {
					context.lineTo(left(index), y(upper[index]));
					context.lineTo(toX(times[index]), y(upper[index]));
				}
				for (let index = end - 1; index >= begin; index -= 1) {
					context.lineTo(toX(times[index]), y(lower ? lower[index] : 0));
					context.lineTo(left(index), y(lower ? lower[index] : 0));
				}
				context.fill();
			}
		};

		const drawCells = (context, paint) => {
			const visible = shown(),
				tall = (size.height - BOTTOM - TOP) / (visible.length || 1);
			visible.forEach(({ times, values: own }, row) => {
				const y = TOP + row * tall;
				context.fillStyle = colors().series[0];
				for (
					let index = scale.lowerBound(times, data.from);
					index < times.length && times[index] <= data.to;
					index += 1
				) {
					if (own[index] === null) continue;
					context.globalAlpha = 0.06 + 0.94 * Math.min(1, own[index]);
					const x = toX(times[index] - data.step);
					context.fillRect(x, y + 0.5, toX(times[index]) - x + 0.3, Math.max(1, tall - 1));
				}
				context.globalAlpha = 1;
				if (tall < 9 && row % Math.ceil(9 / tall)) return;
				context.fillStyle = paint.dim;
				context.font = `${FONT_PX}px ${paint.font}`;
				context.textBaseline = 'middle';
				context.textAlign = 'right';
				context.fillText(String(visible[row].short ?? row), GUTTER - 6, y + tall / 2);
			});
		};

		// The sums of the layers; where points are closer than pixels, only those that can be seen.
		const layer = (visible) => {
			const sums = scale.stacked(visible.map((series) => series.values));
			const times = visible[0]?.times ?? [];
			const pixel = (data.to - data.from) / inner();
			data.layers = { times, sums, step: data.step };
			if (pixel <= data.step || !times.length) return;
			const kept = scale.peaks(times, sums[sums.length - 1], data.from, data.to, inner());
			const reduced = (values) => kept.map((index) => values[index]);
			// Columns may lie two pixels apart without a gap.
			data.layers = { times: reduced(times), sums: sums.map(reduced), step: Math.max(data.step, 1.3 * pixel) };
		};

		const draw = () => {
			frame = 0;
			if (!element.isConnected || !size.width) return;
			const ratio = Math.min(3, devicePixelRatio || 1);
			if (canvas.width !== Math.round(size.width * ratio) || canvas.height !== Math.round(size.height * ratio)) {
				canvas.width = Math.round(size.width * ratio);
				canvas.height = Math.round(size.height * ratio);
			}
			const context = canvas.getContext('2d'),
				paint = colors();
			context.setTransform(ratio, 0, 0, ratio, 0, 0);
			context.clearRect(0, 0, size.width, size.height);
			const visible = shown();
			if (kind === 'stack') layer(visible);
			const ticks = axis(),
				y = yOf(ticks);
			backgrounds(context, paint);
			grid(context, ticks, y, paint);
			context.save();
			context.beginPath();
			context.rect(GUTTER - 1, 0, inner() + 2, size.height - BOTTOM + 1);
			if (kind !== 'heat') context.clip();
			if (kind === 'heat') drawCells(context, paint);
			data.series.forEach((series, index) => {
				if (kind === 'heat' || hidden.has(series.name)) return;
				const place = visible.indexOf(series);
				if (kind === 'stack') drawLayer(context, place, y, colorOf(series, index));
				else
					drawLine(
						context,
						series,
						y,
						colorOf(series, index),
						DASHES[Math.floor((series.color ?? index) / COLORS) % DASHES.length],
					);
			});
			context.restore();
			for (const t of data.restarts) {
				if (t < data.from || t > data.to) continue;
				context.strokeStyle = paint.dim;
				context.setLineDash([3, 3]);
				context.beginPath();
				context.moveTo(toX(t), TOP);
				context.lineTo(toX(t), size.height - BOTTOM);
				context.stroke();
				context.setLineDash([]);
				context.fillStyle = paint.dim;
				context.textAlign = toX(t) > size.width - 70 ? 'right' : 'left';
				context.textBaseline = 'bottom';
				context.font = `${FONT_PX}px ${paint.font}`;
				context.fillText('restart', toX(t) + (context.textAlign === 'left' ? 3 : -3), size.height - BOTTOM - 2);
			}
			marker();
			describe();
		};

		const redraw = () => {
			frame ||= requestAnimationFrame(draw);
		};

		// The legend's elements are made when the series change, and only their values from second to second.
		const fillLegend = () => {
			const names = data.series.map(({ name }) => name).join('\n');
			if (legend.dataset.names !== names) {
				legend.dataset.names = names;
				items = data.series.map((series, index) => {
					const color = series.color ?? index;
					const swatch = h('span', {
						class: `swatch c${color % COLORS} d${Math.floor(color / COLORS) % DASHES.length}`,
						'aria-hidden': 'true',
					});
					const value = h('span', { class: 'value' });
					const parts = [
						swatch,
						h('span', { class: 'name', text: series.label ?? series.name, title: series.name }),
						value,
					];
					if (!toggles) return { value, item: h('li', {}, parts) };
					const button = h(
						'button',
						{ type: 'button', class: 'series', 'aria-pressed': String(!hidden.has(series.name)) },
						parts,
					);
					button.addEventListener('click', () => {
						if (!hidden.delete(series.name)) hidden.add(series.name);
						button.setAttribute('aria-pressed', String(!hidden.has(series.name)));
						top = null;
						redraw();
					});
					return { value, item: h('li', {}, button) };
				});
				legend.replaceChildren(...items.map(({ item }) => item));
			}
			data.series.forEach((series, index) => text(items[index].value, textAt(series)));
		};

		const sentence = () =>
			shown()
				.slice(0, 12)
				.map((series) => `${series.label ?? series.name} ${textAt(series)}`)
				.join(', ');

		// The cursor, the selection, and what is said of both.
		const marker = () => {
			const t = shared.t;
			line.hidden = t === null || t < data.from || t > data.to || !size.width;
			if (!line.hidden) line.style.transform = `translateX(${Math.round(toX(t))}px)`;
			range.hidden = !picked;
			if (picked) {
				const from = toX(Math.min(...picked)),
					to = toX(Math.max(...picked));
				range.style.left = `${from}px`;
				range.style.width = `${Math.max(1, to - from)}px`;
			}
			text(
				at,
				picked
					? `${format.clock(Math.min(...picked), data.step)} … ${format.clock(Math.max(...picked), data.step)}`
					: t === null
						? ''
						: format.clock(t, Math.min(1000, data.step || 1000)),
			);
			if (hasLegend) fillLegend();
			if (document.activeElement === plot) {
				plot.setAttribute('aria-valuenow', String(Math.round(t ?? data.to)));
				plot.setAttribute('aria-valuetext', `${format.clock(t ?? data.to)}: ${sentence() || 'no data'}`);
			}
		};

		let described = 0;
		const describe = () => {
			if (!values.hidden) fillTable();
			// Once in five seconds is enough for a text that is read on demand.
			if (performance.now() - described < 5000 && summary.textContent) return;
			described = performance.now();
			const parts = shown()
				.slice(0, 16)
				.map((series) => {
					const [low, high] = scale.extent([series], data.from, data.to);
					return low === null
						? `${series.name}: no data`
						: `${series.name}: last ${textAt(series)}, lowest ${show(low)}, highest ${show(high)}`;
				});
			const gaps = data.gaps.length
				? `${data.gaps.length} gap${data.gaps.length > 1 ? 's' : ''} without data. `
				: '';
			const marks = spans().map(
				({ mark }) =>
					`${markName(mark)} from ${format.clock(mark.from_ms)}` +
					(mark.to_ms === null ? '' : ` to ${format.clock(mark.to_ms)}`),
			);
			text(
				summary,
				`${format.moment(data.from)} to ${format.moment(data.to)}. ${parts.join('; ') || 'No data'}. ` +
					`${gaps}${marks.length ? `Marked: ${marks.join('; ')}. ` : ''}Arrow keys move the cursor, ` +
					`with Shift they select, Enter shows the selection, Escape ends it.`,
			);
			plot.setAttribute('aria-valuemin', String(Math.round(data.from)));
			plot.setAttribute('aria-valuemax', String(Math.round(data.to)));
			plot.setAttribute(
				'aria-valuenow',
				String(Math.round(Math.min(data.to, Math.max(data.from, shared.t ?? data.to)))),
			);
		};

		// The text alternative: rows of the visible range, evenly thinned.
		const fillTable = () => {
			const visible = shown(),
				times = visible[0]?.times ?? [];
			const first = scale.lowerBound(times, data.from),
				last = scale.lowerBound(times, data.to + 1);
			const every = Math.max(1, Math.ceil((last - first) / TABLE_ROWS)),
				rows = [];
			for (let index = last - 1; index >= first; index -= every) {
				rows.push([
					format.clock(times[index], Math.min(1000, data.step || 1000)),
					...visible.map((series) => {
						const near = series.times === times ? index : scale.nearest(series.times, times[index]);
						return near >= 0 && series.times[near] === times[index]
							? show(series.values[near])
							: format.NONE;
					}),
				]);
			}
			const columns = [
				{ name: 'time' },
				...visible.map(({ name, label: short }) => ({ name: short ?? name, class: 'number' })),
			];
			const old = values.firstChild,
				scrolled = old?.scrollTop ?? 0;
			const fresh = dom.table(`${title}: ${rows.length} of ${last - first} points`, columns, rows);
			if (old) old.replaceChildren(fresh);
			else values.append(dom.scroller(`${title}: table`, fresh));
			values.firstChild.scrollTop = scrolled;
		};

		toggle.addEventListener('click', () => {
			values.hidden = !values.hidden;
			toggle.setAttribute('aria-expanded', String(!values.hidden));
			if (!values.hidden) fillTable();
		});

		const finish = () => {
			const chosen = picked;
			picked = null;
			marker();
			if (chosen && select && Math.abs(chosen[1] - chosen[0]) >= (data.step || 1))
				select(Math.min(...chosen), Math.max(...chosen));
		};

		const xOf = (event) => event.clientX - plot.getBoundingClientRect().left;
		plot.addEventListener('pointerdown', (event) => {
			if (event.button !== 0) return;
			drag = { x: xOf(event), t: toT(xOf(event)) };
			plot.setPointerCapture(event.pointerId);
		});
		plot.addEventListener('pointermove', (event) => {
			const t = toT(xOf(event));
			shared.set(t);
			if (drag && select && (picked || Math.abs(xOf(event) - drag.x) > 4)) picked = [drag.t, t];
			if (drag) marker();
		});
		plot.addEventListener('pointerup', () => {
			drag = null;
			if (picked) finish();
		});
		plot.addEventListener('pointercancel', () => {
			drag = picked = null;
			marker();
		});
		plot.addEventListener('pointerleave', () => !drag && document.activeElement !== plot && shared.set(null));
		plot.addEventListener('blur', () => shared.set(null));
		plot.addEventListener('keydown', (event) => {
			const step = data.step || (data.to - data.from) / 100;
			const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageUp: 10, PageDown: -10 };
			let t = shared.t ?? data.to;
			if (event.key in moves) t += moves[event.key] * step;
			else if (event.key === 'Home') t = data.from;
			else if (event.key === 'End') t = data.to;
			else if (event.key === 'Enter' && picked) return finish();
			else if (event.key === 'Escape') {
				picked = null;
				shared.set(null);
				return marker();
			} else return;
			event.preventDefault();
			t = Math.min(data.to, Math.max(data.from, t));
			if (event.shiftKey && select) picked = [picked?.[0] ?? shared.t ?? data.to, t];
			shared.set(t);
			marker();
		});

		const resized = new ResizeObserver(() => {
			size = { width: plot.clientWidth, height: plot.clientHeight };
			redraw();
		});
		resized.observe(plot);
		shared.listen(marker);
		const own = {
			element,
			redraw,
			update: (next) => {
				data = { gaps: [], marks: [], restarts: [], layers: { times: [], sums: [], step: 0 }, ...next };
				redraw();
			},
			remove: () => {
				resized.disconnect();
				shared.unlisten(marker);
				all.delete(own);
				element.remove();
			},
		};
		all.add(own);
		return own;
	};

	return { create, cursor, colors, restyle, COLORS };
})();
