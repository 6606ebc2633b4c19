'use strict';
// The page: views by the hash of the URL, the theme, the key, and the state of the connection.
(() => {
	const { h, text } = dom;
	const VIEWS = ['now', 'who', 'ask', 'profile'];
	const state = store.create();
	const views = {};
	const find = (id) => document.getElementById(id);

	// Storage may be forbidden; the page works without.
	const stored = (storage, name, value) => {
		try {
			if (value === undefined) return globalThis[storage].getItem(name);
			if (value === null) globalThis[storage].removeItem(name);
			else globalThis[storage].setItem(name, value);
		} catch {
			return null;
		}
		return value;
	};
	let key = stored('sessionStorage', 'metricstream-key');

	// Asks for the key, once however many requests need it; resolves when one was given.
	let waiting = null;
	const askKey = (failed) => {
		waiting ??= new Promise((resolve) => {
			const dialog = find('key'),
				input = find('key-text');
			text(find('key-error'), failed ? 'The server does not know this key.' : '');
			dialog.querySelector('form').onsubmit = (event) => {
				event.preventDefault();
				key = input.value.trim();
				input.value = '';
				stored('sessionStorage', 'metricstream-key', key);
				dialog.close();
				waiting = null;
				resolve();
			};
			dialog.oncancel = (event) => event.preventDefault();
			if (!dialog.open) dialog.showModal();
			input.focus();
		});
		return waiting;
	};

	// A request with the key; throws an Error with the server's text when it is refused.
	const fetched = async (target, options = {}) => {
		for (;;) {
			const used = key;
			const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
			const response = await fetch(target, { cache: 'no-store', ...options, headers });
			if (response.status === 401) {
				if (used === key) await askKey(Boolean(used));
				continue;
			}
			if (response.ok) return response;
			const body = await response.text();
			let words = body.trim().slice(0, 400);
			try {
				words = JSON.parse(body).error ?? words;
			} catch {
				// It is text then.
			}
			throw Object.assign(new Error(words || `status ${response.status}`), { status: response.status });
		}
	};

	// The theme: of the system, or as chosen.
	const setTheme = (theme) => {
		if (theme === 'auto') delete document.documentElement.dataset.theme;
		else document.documentElement.dataset.theme = theme;
		stored('localStorage', 'metricstream-theme', theme === 'auto' ? null : theme);
		chart.restyle();
		views.profile?.restyle();
	};
	const theme = stored('localStorage', 'metricstream-theme') ?? 'auto';
	if (theme !== 'auto') document.documentElement.dataset.theme = theme;
	find('theme').append(
		dom.choice(
			'Theme',
			[
				['auto', 'auto'],
				['light', 'light'],
				['dark', 'dark'],
			],
			theme,
			setTheme,
		),
	);
	matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
		chart.restyle();
		views.profile?.restyle();
	});

	let link = { state: 'connecting' };
	const drawLink = () => {
		const element = find('link'),
			last = store.last(state);
		element.dataset.state = link.state;
		const words = {
			connecting: 'connecting',
			locked: 'needs a key',
			live: 'live',
			waiting: () =>
				`${link.error}; next try in ${Math.max(0, Math.ceil((link.retry_at - Date.now()) / 1000))} s`,
		}[link.state];
		const age = last ? (Date.now() + state.skew_ms - last.t_ms) / 1000 : 0;
		text(
			find('link-text'),
			typeof words === 'function'
				? words()
				: link.state === 'live' && age > 5
					? `last point ${format.span(age)} ago`
					: words,
		);
	};

	const drawAbout = () => {
		const hello = state.hello;
		if (!hello) return;
		const parts = [
			hello.version,
			hello.driver,
			`ack ${hello.ack}`,
			`${hello.reactors} reactor${hello.reactors === 1 ? '' : 's'}`,
		];
		if (hello.limits?.rate) parts.push(`${format.exact(hello.limits.rate)}/s a client`);
		text(find('about'), parts.join(' · '));
		document.title = `${document.location.host} · MetricsStream`;
	};

	const current = () => {
		const name = /^#(\w+)/.exec(location.hash)?.[1];
		return VIEWS.includes(name) ? name : 'now';
	};

	const show = () => {
		const name = current();
		for (const view of VIEWS) {
			find(`view-${view}`).hidden = view !== name;
			const anchor = document.querySelector(`nav a[data-view=${view}]`);
			if (view === name) anchor.setAttribute('aria-current', 'page');
			else anchor.removeAttribute('aria-current');
		}
		views[name].open?.(location.hash.slice(name.length + 2));
		views[name].draw?.();
	};

	let frame = 0;
	const draw = () => {
		frame ||= requestAnimationFrame(() => {
			frame = 0;
			drawLink();
			drawAbout();
			views[current()].draw?.();
		});
	};

	views.now = now.create(find('view-now'), state);
	views.who = who.create(find('view-who'), state, fetched);
	views.ask = ask.create(find('view-ask'), fetched, () => key);
	views.profile = profile.create(find('view-profile'), state, fetched);

	const connection = stream.open({
		key: () => key,
		snapshot: () => store.snapshot(state),
		received: (line) => {
			store.apply(state, line);
			draw();
		},
		status: (next) => {
			link = next;
			draw();
		},
		unauthorized: () => askKey(Boolean(key)).then(() => connection.start()),
	});

	// 1 to 4 choose a view where nothing is typed.
	addEventListener('keydown', (event) => {
		if (
			event.ctrlKey ||
			event.metaKey ||
			event.altKey ||
			/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) ||
			find('key').open
		)
			return;
		const view = VIEWS[Number(event.key) - 1];
		if (view) document.querySelector(`nav a[data-view=${view}]`).click();
	});
	// By script, as the hash of the URL names a view.
	document.querySelector('.skip').addEventListener('click', (event) => {
		event.preventDefault();
		find('main').focus();
	});
	addEventListener('hashchange', show);
	document.addEventListener('visibilitychange', draw);
	setInterval(draw, 1000);
	show();
	drawLink();
})();
