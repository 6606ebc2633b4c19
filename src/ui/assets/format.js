'use strict';
// Numbers as text: three significant digits, SI or binary prefixes, and `–` for what is not known, which is never
// shown as 0.
const format = (() => {
	const NONE = '–';
	const SI = ['', 'k', 'M', 'G', 'T', 'P', 'E'];
	const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
	const isNumber = (x) => typeof x === 'number' && Number.isFinite(x);

	// Three significant digits, without an exponent.
	const digits = (x) => {
		const size = Math.abs(x);
		// 99.95 is rounded to 100, which has no decimals: what decides is the rounded number.
		if (Number(size.toFixed(1)) >= 100) return x.toFixed(0);
		return Number(size.toFixed(2)) >= 10 ? x.toFixed(1) : x.toFixed(2);
	};

	// Divides by `base` until the rounded number is below `limit`; returns [text, index of the prefix].
	const scaled = (x, base, limit, steps) => {
		let index = 0;
		while (index + 1 < steps && Math.abs(Number(digits(x))) >= limit) {
			x /= base;
			index += 1;
		}
		return [x, index];
	};

	// 7, 7.25, 12.3 k. Whole numbers below 1000 have no decimals.
	const count = (x) => {
		if (!isNumber(x)) return NONE;
		const [value, index] = scaled(x, 1000, 1000, SI.length);
		if (index === 0) return Number.isInteger(x) ? String(x) : tiny(x);
		return `${digits(value)} ${SI[index]}`;
	};

	// What is below 0.01 keeps two significant digits instead of becoming 0.00.
	const tiny = (x) => (x !== 0 && Math.abs(x) < 0.01 ? x.toPrecision(2) : digits(x));

	const rate = (x) => (isNumber(x) ? `${count(x)}${/\d$/.test(count(x)) ? ' ' : ''}/s` : NONE);

	const bytes = (x) => {
		if (!isNumber(x)) return NONE;
		const [value, index] = scaled(x, 1024, 1000, BINARY.length);
		const shown = index === 0 && Number.isInteger(x) ? String(x) : digits(value);
		return `${shown} ${BINARY[index]}`;
	};

	// The text of a tick on an axis: without the zeros behind the point that only make it longer.
	const short = (shown) => shown.replace(/(\.\d*?)0+(?=\D|$)/, '$1').replace(/\.(?=\D|$)/, '');

	const byteRate = (x) => (isNumber(x) ? `${bytes(x)}/s` : NONE);

	// A time in microseconds: µs, ms, s, min.
	const duration = (us) => {
		if (!isNumber(us)) return NONE;
		if (Math.abs(Number(digits(us))) < 1000) return `${Number.isInteger(us) ? us : digits(us)} µs`;
		if (Math.abs(Number(digits(us / 1e3))) < 1000) return `${digits(us / 1e3)} ms`;
		if (Math.abs(us) < 60e6) return `${digits(us / 1e6)} s`;
		return span(us / 1e6);
	};

	// A length of time in seconds, in its two largest units: 3 d 4 h, 12 min 5 s, 7 s.
	const span = (s) => {
		if (!isNumber(s)) return NONE;
		const whole = Math.round(Math.abs(s));
		const sign = s < 0 ? '−' : '';
		const units = [
			['d', 86400],
			['h', 3600],
			['min', 60],
			['s', 1],
		];
		const at = units.findIndex(([, size]) => whole >= size);
		if (at < 0) return '0 s';
		const [name, size] = units[at];
		const first = `${sign}${Math.floor(whole / size)} ${name}`;
		const next = units[at + 1];
		const rest = next && Math.floor((whole % size) / next[1]);
		return rest ? `${first} ${rest} ${next[0]}` : first;
	};

	const percent = (ratio) => {
		if (!isNumber(ratio)) return NONE;
		const value = ratio * 100;
		return `${value > 0 && value < 0.1 ? '<0.1' : value.toFixed(1)} %`;
	};

	// A whole number with thin spaces between groups of three digits.
	const exact = (x) => (isNumber(x) ? String(x).replace(/\B(?=(\d{3})+$)/g, '\u202f') : NONE);

	const two = (n) => String(n).padStart(2, '0');

	// Local time of day; with milliseconds if `step_ms` is below a second, without seconds from a minute on.
	const clock = (ms, step_ms = 1000) => {
		if (!isNumber(ms)) return NONE;
		const date = new Date(ms);
		const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
		if (step_ms >= 60000) return minutes;
		const seconds = `${minutes}:${two(date.getSeconds())}`;
		return step_ms >= 1000 ? seconds : `${seconds}.${String(date.getMilliseconds()).padStart(3, '0')}`;
	};

	const day = (ms) => {
		const date = new Date(ms);
		return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
	};

	const moment = (ms, step_ms) => (isNumber(ms) ? `${day(ms)} ${clock(ms, step_ms)}` : NONE);

	// A value of a stored metric: as exact as it is known, in at most `width` characters.
	const value = (x) => {
		if (!isNumber(x)) return NONE;
		if (Number.isInteger(x) && Math.abs(x) < 1e6) return String(x);
		const size = Math.abs(x);
		if (size >= 1e15 || (size < 1e-4 && size > 0)) return x.toExponential(3);
		return size >= 1000 ? count(x) : String(Number(x.toPrecision(5)));
	};

	return {
		NONE,
		isNumber,
		digits,
		short,
		count,
		rate,
		bytes,
		byteRate,
		duration,
		span,
		percent,
		exact,
		clock,
		day,
		moment,
		value,
	};
})();
