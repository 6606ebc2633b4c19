'use strict';
// What a chart computes before it draws: ticks, ranges, gaps, fewer points. No element is touched here.
const scale = (() => {
	const SECOND = 1000,
		MINUTE = 60 * SECOND,
		HOUR = 60 * MINUTE,
		DAY = 24 * HOUR;
	const TIME_STEPS = [
		1,
		2,
		5,
		10,
		20,
		50,
		100,
		200,
		500,
		SECOND,
		2 * SECOND,
		5 * SECOND,
		10 * SECOND,
		15 * SECOND,
		30 * SECOND,
		MINUTE,
		2 * MINUTE,
		5 * MINUTE,
		10 * MINUTE,
		15 * MINUTE,
		30 * MINUTE,
		HOUR,
		2 * HOUR,
		3 * HOUR,
		6 * HOUR,
		12 * HOUR,
		DAY,
		2 * DAY,
		7 * DAY,
		14 * DAY,
		28 * DAY,
		91 * DAY,
		182 * DAY,
		364 * DAY,
	];
	// A point later than this many steps after the one before it is behind a gap.
	const GAP_STEPS = 1.75;

	// The smallest 1, 2 or 5 times a power of ten (of two, for bytes) that is not below `raw`.
	const niceStep = (raw, binary = false) => {
		if (!(raw > 0)) return 1;
		if (binary && raw >= 1) return 2 ** Math.ceil(Math.log2(raw) - 1e-9);
		const power = 10 ** Math.floor(Math.log10(raw));
		const times = raw / power;
		return power * (times <= 1.0000001 ? 1 : times <= 2.0000001 ? 2 : times <= 5.0000001 ? 5 : 10);
	};

	// Ticks from at most `low` to at least `high`, about `wanted` of them.
	const linear = (low, high, wanted, binary = false) => {
		if (!(high > low)) [low, high] = low === 0 || low === undefined ? [0, 1] : [Math.min(0, low), Math.max(0, low)];
		const step = niceStep((high - low) / wanted, binary);
		const first = Math.floor(low / step + 1e-9),
			last = Math.ceil(high / step - 1e-9);
		const ticks = [];
		for (let index = first; index <= last; index += 1) ticks.push(index * step);
		return { min: first * step, max: last * step, step, ticks: ticks.map((tick) => Number(tick.toPrecision(12))) };
	};

	// Ticks of a logarithmic axis: whole decades around the values, with 2 and 5 between where there are few.
	const log = (low, high) => {
		const first = Math.floor(Math.log10(low > 0 ? low : 1) + 1e-9);
		const last = Math.max(Math.ceil(Math.log10(high > 0 ? high : 1) - 1e-9), first + 1);
		const ticks = [];
		for (let decade = first; decade <= last; decade += 1) {
			for (const times of last - first <= 2 ? [1, 2, 5] : [1]) {
				if (decade < last || times === 1) ticks.push(times * 10 ** decade);
			}
		}
		return { min: 10 ** first, max: 10 ** last, ticks: ticks.map((tick) => Number(tick.toPrecision(12))) };
	};

	// Ticks of a time axis in local time; `wanted` is how many there is space for. `offset` is minutes behind UTC at a
	// time, as Date has it: a day of 23 hours must not shift the ticks behind it.
	const time = (from, to, wanted, offset = (ms) => new Date(ms).getTimezoneOffset()) => {
		const raw = (to - from) / Math.max(1, wanted);
		const step = TIME_STEPS.find((candidate) => candidate >= raw) ?? TIME_STEPS[TIME_STEPS.length - 1];
		const ticks = [];
		let local = Math.ceil((from - offset(from) * MINUTE) / step) * step;
		for (let count = 0; count < 1000; count += 1, local += step) {
			const guess = local + offset(from) * MINUTE;
			const at = local + offset(guess) * MINUTE;
			if (at > to) break;
			if (at >= from) ticks.push(at);
		}
		return { step, ticks };
	};

	// The first index whose time is not below `t`.
	const lowerBound = (times, t) => {
		let low = 0,
			high = times.length;
		while (low < high) {
			const middle = (low + high) >> 1;
			if (times[middle] < t) low = middle + 1;
			else high = middle;
		}
		return low;
	};

	// The index of the point nearest to `t`, -1 without points.
	const nearest = (times, t) => {
		const at = lowerBound(times, t);
		if (at === 0) return times.length ? 0 : -1;
		if (at === times.length) return at - 1;
		return t - times[at - 1] <= times[at] - t ? at - 1 : at;
	};

	// The spans without points between the first point and `to`: [[begin, end], …]. Points stand at the ends of their
	// spans, so a gap ends where the span of the next point begins.
	const gaps = (times, step, from, to) => {
		const found = [];
		if (!(step > 0)) return found;
		const add = (begin, end) => {
			if (end > from && begin < to) found.push([Math.max(begin, from), Math.min(end, to)]);
		};
		for (
			let index = Math.max(1, lowerBound(times, from));
			index < times.length && times[index - 1] < to;
			index += 1
		) {
			if (times[index] - times[index - 1] > GAP_STEPS * step) add(times[index - 1], times[index] - step);
		}
		const last = times[times.length - 1];
		// The next point may be on its way for a step and a half more.
		if (times.length && to - last > (GAP_STEPS + 1.5) * step) add(last, to);
		return found;
	};

	// Runs of indices without a gap and without an unknown value: [[first, behind the last], …].
	const runs = (times, values, step, from = 0, to = times.length) => {
		const found = [];
		let begin = -1;
		for (let index = from; index < to; index += 1) {
			const known = values[index] !== null && values[index] !== undefined && Number.isFinite(values[index]);
			const late = begin >= 0 && step > 0 && times[index] - times[index - 1] > GAP_STEPS * step;
			if (begin >= 0 && (!known || late)) {
				found.push([begin, index]);
				begin = -1;
			}
			if (known && begin < 0) begin = index;
		}
		if (begin >= 0) found.push([begin, to]);
		return found;
	};

	// The indices to draw of [first, last) when `columns` pixels are there for all: of each column its first, lowest,
	// highest and last point, so that no peak is lost.
	const downsample = (times, values, first, last, from, to, columns) => {
		const kept = [];
		if (last - first <= columns * 2) {
			for (let index = first; index < last; index += 1) kept.push(index);
			return kept;
		}
		const column = (index) => Math.floor(((times[index] - from) / (to - from)) * columns);
		let index = first;
		while (index < last) {
			const own = column(index),
				begin = index;
			let lowest = index,
				highest = index;
			while (index < last && column(index) === own) {
				if (values[index] < values[lowest]) lowest = index;
				if (values[index] > values[highest]) highest = index;
				index += 1;
			}
			const four = [begin, lowest, highest, index - 1].sort((a, b) => a - b);
			for (const candidate of four) if (kept[kept.length - 1] !== candidate) kept.push(candidate);
		}
		return kept;
	};

	// The usual distance of the points of a series, by their median; 0 for fewer than three.
	const interval = (times) => {
		if (times.length < 3) return 0;
		const every = Math.ceil(times.length / 1000),
			distances = [];
		for (let index = 1; index < times.length; index += every) distances.push(times[index] - times[index - 1]);
		return distances.sort((a, b) => a - b)[distances.length >> 1];
	};

	// The lowest and the highest known value of several series between two times; [null, null] without any.
	const extent = (series, from, to, positive = false) => {
		let low = null,
			high = null;
		for (const { times, values } of series) {
			for (let index = lowerBound(times, from); index < times.length && times[index] <= to; index += 1) {
				const value = values[index];
				if (value === null || value === undefined || !Number.isFinite(value) || (positive && value <= 0))
					continue;
				if (low === null || value < low) low = value;
				if (high === null || value > high) high = value;
			}
		}
		return [low, high];
	};

	// Sums from the bottom up: what a stacked chart draws. An unknown value counts as nothing in a sum that has a known
	// one, and a time where all are unknown stays unknown.
	const stacked = (layers) => {
		if (!layers.length) return [];
		const length = layers[0].length;
		const sums = layers.map(() => new Array(length).fill(null));
		for (let at = 0; at < length; at += 1) {
			if (layers.every((values) => values[at] === null || values[at] === undefined)) continue;
			let sum = 0;
			for (let layer = 0; layer < layers.length; layer += 1) {
				sum += layers[layer][at] ?? 0;
				sums[layer][at] = sum;
			}
		}
		return sums;
	};

	// The indices to draw of layers when there are fewer pixels than points: of each column the one with the highest sum.
	const peaks = (times, totals, from, to, columns) => {
		const kept = [];
		let last = null;
		for (let index = lowerBound(times, from); index < times.length && times[index] <= to; index += 1) {
			const column = Math.floor(((times[index] - from) / (to - from)) * columns);
			if (column !== last) kept.push(index);
			else if ((totals[index] ?? -1) > (totals[kept[kept.length - 1]] ?? -1)) kept[kept.length - 1] = index;
			last = column;
		}
		return kept;
	};

	// The span of a bucket for a range: at most `most` buckets, of a round length.
	const bucket = (span_ms, most) =>
		TIME_STEPS.find((step) => step >= SECOND && span_ms / step <= most) ?? Math.ceil(span_ms / most / DAY) * DAY;

	// For spans, in the order of their begin, the row of each: the first that no span before it still takes.
	const rows = (spans) => {
		const ends = [];
		return spans.map(({ begin, end }) => {
			const free = ends.findIndex((before) => before <= begin);
			const row = free < 0 ? ends.length : free;
			ends[row] = end;
			return row;
		});
	};

	return {
		niceStep,
		linear,
		log,
		time,
		lowerBound,
		nearest,
		gaps,
		runs,
		interval,
		downsample,
		peaks,
		extent,
		stacked,
		bucket,
		rows,
	};
})();
