'use strict';
// The stream of points. Browsers permit six connections to a host over all tabs, so the tabs of one browser share one
// stream: one of them reads and passes the lines on, the others take over when they no longer come.
const stream = (() => {
	// Without a byte for so long the connection is taken for dead: a point comes every second.
	const SILENCE_MS = 6000;
	const RETRY_MS = [500, 1000, 2000, 4000, 8000];
	// How long a new tab waits for a tab that reads already.
	const JOIN_MS = 350;
	const LINE_MAX = 64 << 20;

	// Splits text into lines, wherever it is cut. Returns a function that takes text and returns whole lines. Only what is
	// new is searched: the history of many cores is a line of megabytes.
	const splitter = (limit = LINE_MAX) => {
		let parts = [];
		let length = 0;
		return (text) => {
			const lines = text.split('\n');
			const rest = lines.pop();
			if (lines.length) {
				lines[0] = parts.join('') + lines[0];
				parts = [];
				length = 0;
			}
			parts.push(rest);
			length += rest.length;
			if (length > limit) throw new Error('a line of the stream is too long');
			return lines.filter((line) => line !== '');
		};
	};

	// The wait before try number `attempt`, with a quarter of it at random, so that many pages do not come together.
	const backoff = (attempt, random = Math.random()) =>
		RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)] * (0.75 + random / 2);

	// `key()` is the API key or null; `received(line)` gets each object; `status({state, retry_at, error})` what happens;
	// `unauthorized()` is called on 401; `snapshot()` returns the lines for a tab that joins.
	const open = ({ key, received, status, unauthorized, snapshot }) => {
		const id = Math.random();
		let channel = null,
			leads = false,
			reading = null,
			timer = null,
			attempt = 0,
			heard_at = 0,
			closed = false;

		const post = (message) => channel?.postMessage({ ...message, id });
		const set = (state, more = {}) => {
			status({ state, ...more });
			if (leads) post({ status: { state, ...more } });
		};

		const later = (delay, run) => {
			clearTimeout(timer);
			timer = setTimeout(run, delay);
		};

		const stop = () => {
			clearTimeout(timer);
			reading?.abort();
			reading = null;
			leads = false;
		};

		const read = async () => {
			const control = new AbortController();
			reading = control;
			set('connecting');
			let watchdog = setTimeout(() => control.abort(), SILENCE_MS);
			try {
				const headers = key() ? { Authorization: `Bearer ${key()}` } : {};
				const response = await fetch('/ui/stream', { headers, cache: 'no-store', signal: control.signal });
				if (response.status === 401 || response.status === 403) {
					stop();
					set('locked');
					unauthorized();
					return;
				}
				if (!response.ok)
					throw new Error(
						response.status === 503 ? 'the server is full or stopping' : `status ${response.status}`,
					);
				const split = splitter(),
					decoder = new TextDecoder(),
					reader = response.body.getReader();
				for (;;) {
					const { done, value } = await reader.read();
					if (done || control.signal.aborted) break;
					clearTimeout(watchdog);
					watchdog = setTimeout(() => control.abort(), SILENCE_MS);
					const lines = split(decoder.decode(value, { stream: true })).map((line) => JSON.parse(line));
					for (const line of lines) received(line);
					post({ lines });
					if (lines.length) {
						attempt = 0;
						set('live');
					}
				}
				throw new Error('the stream ended');
			} catch (error) {
				if (reading !== control || closed) return;
				control.abort();
				const delay = backoff(attempt);
				attempt += 1;
				set('waiting', {
					retry_at: Date.now() + delay,
					error: error.name === 'AbortError' ? 'no data' : error.message,
				});
				later(delay, read);
			} finally {
				clearTimeout(watchdog);
			}
		};

		const lead = () => {
			if (closed || leads) return;
			leads = true;
			post({ leads: true });
			read();
		};

		// Waits for another tab; takes over if none is heard.
		const wait = (delay) =>
			later(delay + Math.random() * delay * 0.5, () => {
				if (Date.now() - heard_at > SILENCE_MS / 2) lead();
				else wait(SILENCE_MS / 2);
			});

		const message = ({ data }) => {
			if (data.joins) {
				if (leads) post({ to: data.id, lines: snapshot(), status: { state: 'live' } });
				return;
			}
			if (data.to !== undefined && data.to !== id) return;
			if (data.leaves) {
				if (!leads) later(Math.random() * JOIN_MS, lead);
				return;
			}
			// Two tabs read: the lower number goes on.
			if (leads && (data.leads || data.lines)) {
				if (data.id > id) return void post({ leads: true });
				stop();
			}
			heard_at = Date.now();
			if (!leads) {
				for (const line of data.lines ?? []) received(line);
				if (data.status) status(data.status);
				wait(SILENCE_MS / 2);
			}
		};

		// Begins again: at the start, with another key, after a sleep.
		const start = () => {
			stop();
			channel?.close();
			attempt = 0;
			heard_at = 0;
			// Tabs share what one key permits: a tab without it asks for it.
			channel =
				typeof BroadcastChannel === 'function' ? new BroadcastChannel(`metricstream ${key() ?? ''}`) : null;
			if (!channel) return lead();
			channel.onmessage = message;
			post({ joins: true });
			wait(JOIN_MS);
		};

		// Tries now instead of waiting: the tab is looked at again, or the network is back.
		const hurry = () => {
			if (leads && !closed && attempt > 0) {
				clearTimeout(timer);
				attempt = 0;
				read();
			}
		};

		const leave = () => {
			if (leads) post({ leaves: true });
			stop();
		};

		document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && hurry());
		addEventListener('online', hurry);
		addEventListener('pagehide', leave);
		addEventListener('pageshow', (event) => event.persisted && start());
		start();
		return {
			start,
			close: () => {
				closed = true;
				leave();
				channel?.close();
			},
		};
	};

	return { open, splitter, backoff };
})();
