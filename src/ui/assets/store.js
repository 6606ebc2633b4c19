'use strict';
// What the page knows of the server: the points of the last ten minutes and of the last day, each sorted by time and
// without duplicates, who sends, the marks of load tests, and the restarts seen. Bounded like the server's history.
const store = (() => {
	const LENGTH = { 1: 600, 60: 1440 };
	const RESTARTS_MAX = 64;
	const MARKS_MAX = 64;

	const create = () => ({
		hello: null,
		points: { 1: [], 60: [] },
		who: null,
		marks: [],
		restarts: [],
		skew_ms: 0,
	});

	// Adds points in any order; one that is already known is replaced. What is older than the range goes.
	const add = (state, step, points) => {
		const own = state.points[step];
		if (!own) return;
		for (const point of points) {
			if (!point || !Number.isFinite(point.t_ms)) continue;
			let at = own.length;
			while (at > 0 && own[at - 1].t_ms > point.t_ms) at -= 1;
			if (at > 0 && own[at - 1].t_ms === point.t_ms) own[at - 1] = point;
			else own.splice(at, 0, point);
		}
		const oldest = own.length ? own[own.length - 1].t_ms - LENGTH[step] * step * 1000 : 0;
		let gone = 0;
		while (gone < own.length && own[gone].t_ms <= oldest) gone += 1;
		own.splice(0, Math.max(gone, own.length - LENGTH[step] * 2));
	};

	// Takes one line of the stream. Returns whether it was of a known kind; lines of later versions are ignored.
	const apply = (state, line, now = Date.now()) => {
		switch (line?.type) {
			case 'hello':
				if (state.hello && state.hello.start_id !== line.start_id) {
					state.restarts.push(line.now_ms);
					state.restarts.splice(0, state.restarts.length - RESTARTS_MAX);
					// The server that knew their end is gone.
					for (const mark of state.marks) mark.to_ms ??= store.last(state)?.t_ms ?? line.now_ms;
				}
				state.hello = line;
				state.skew_ms = Number.isFinite(line.now_ms) ? line.now_ms - now : 0;
				return true;
			case 'history':
				add(state, line.step_s, line.points ?? []);
				return true;
			case 'point':
				add(state, line.step_s, [line.point]);
				return true;
			case 'who':
				state.who = line;
				return true;
			case 'marks': {
				// Those of a server before this one stay, as its points do.
				const start_id = state.hello?.start_id;
				const before = state.marks.filter((mark) => mark.start_id !== start_id);
				const own = (line.marks ?? []).map((mark) => ({ ...mark, start_id }));
				state.marks = [...before, ...own].slice(-MARKS_MAX);
				return true;
			}
			default:
				return false;
		}
	};

	// The lines that bring an empty store to this state: what one tab gives to another.
	const snapshot = (state) => {
		if (!state.hello) return [];
		const lines = [{ ...state.hello, now_ms: Date.now() + state.skew_ms }];
		for (const step of [1, 60]) lines.push({ type: 'history', step_s: step, points: state.points[step] });
		if (state.who) lines.push(state.who);
		const own = state.marks.filter((mark) => mark.start_id === state.hello.start_id);
		if (own.length) lines.push({ type: 'marks', marks: own });
		return lines;
	};

	const last = (state) => state.points[1][state.points[1].length - 1] ?? null;

	// A count of a point as a rate per second; null if either is unknown.
	const perSecond = (point, value) =>
		Number.isFinite(value) && point.span_ms > 0 ? (value * 1000) / point.span_ms : null;

	// The columns of a chart: times, and for each reader of a point its values.
	const columns = (points, readers) => {
		const times = points.map((point) => point.t_ms);
		return readers.map((read) => ({
			times,
			values: points.map((point) => {
				const value = read(point);
				return Number.isFinite(value) ? value : null;
			}),
		}));
	};

	// The keys of an object in any of the points, the most frequent first: statuses, reasons.
	const keys = (points, of) => {
		const sums = new Map();
		for (const point of points) {
			for (const [key, count] of Object.entries(of(point) ?? {}))
				sums.set(key, (sums.get(key) ?? 0) + (count || 0));
		}
		return [...sums]
			.filter(([, sum]) => sum > 0)
			.sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
			.map(([key]) => key);
	};

	return { create, add, apply, snapshot, last, perSecond, columns, keys };
})();
