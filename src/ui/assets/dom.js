'use strict';
// Elements without HTML text: whatever the server sends becomes a text node, never markup. Styles go by CSSOM, as the
// Content-Security-Policy permits no style attribute.
const dom = (() => {
	// Makes an element. `props`: `class`, `text`, `on` ({event: listener}), `style` ({property: value}); the rest are
	// attributes, of which false and null are left out.
	const h = (tag, props = {}, ...children) => {
		const element = document.createElement(tag);
		for (const [name, value] of Object.entries(props ?? {})) {
			if (value === null || value === undefined || value === false) continue;
			if (name === 'class') element.className = value;
			else if (name === 'text') element.textContent = value;
			else if (name === 'on')
				for (const [event, run] of Object.entries(value)) element.addEventListener(event, run);
			else if (name === 'style')
				for (const [key, set] of Object.entries(value)) element.style.setProperty(key, set);
			else element.setAttribute(name, value === true ? '' : value);
		}
		element.append(...children.flat().filter((child) => child !== null && child !== undefined));
		return element;
	};

	// Sets the text only when it differs, so that a second without change costs no layout.
	const text = (element, value) => {
		if (element.textContent !== value) element.textContent = value;
	};

	// Says `message` to a screen reader.
	const announce = (message) => text(document.getElementById('announcer'), message);

	// A button that copies what `of` returns, and says that it did.
	const copyButton = (of, label) => {
		const button = h('button', {
			type: 'button',
			class: 'quiet copy',
			'aria-label': `Copy ${label}`,
			text: 'copy',
		});
		button.addEventListener('click', async () => {
			let done = false;
			try {
				await navigator.clipboard.writeText(of());
				done = true;
			} catch {
				// Without https or a permission there is no clipboard: the old way needs a selection.
				const area = h('textarea', { class: 'offscreen', readonly: true, 'aria-hidden': 'true' });
				area.value = of();
				document.body.append(area);
				area.select();
				done = document.execCommand('copy');
				area.remove();
				button.focus();
			}
			text(button, done ? 'copied' : 'failed');
			announce(done ? `${label} copied` : `${label} could not be copied`);
			setTimeout(() => text(button, 'copy'), 1500);
		});
		return button;
	};

	// A table. `columns`: [{name, class}], `rows`: arrays of text or elements.
	const table = (caption, columns, rows) =>
		h(
			'table',
			{},
			h('caption', { class: 'offscreen', text: caption }),
			h(
				'thead',
				{},
				h(
					'tr',
					{},
					columns.map(({ name, class: kind }) => h('th', { scope: 'col', class: kind, text: name })),
				),
			),
			h(
				'tbody',
				{},
				rows.map((row) =>
					h(
						'tr',
						{},
						row.map((cell, index) => {
							const kind = columns[index].class;
							return cell instanceof Node
								? h('td', { class: kind }, cell)
								: h('td', { class: kind, text: String(cell) });
						}),
					),
				),
			),
		);

	// A table that scrolls within its box, reachable by the keyboard.
	const scroller = (label, content) =>
		h('div', { class: 'scroller', tabindex: '0', role: 'region', 'aria-label': label }, content);

	// Radio buttons as one row. `options`: [[value, text]]; `changed` gets the value.
	let radios = 0;
	const choice = (label, options, value, changed) => {
		const name = `choice-${(radios += 1)}`;
		return h(
			'fieldset',
			{ class: 'choice' },
			h('legend', { class: 'offscreen', text: label }),
			options.map(([key, shown]) => {
				const input = h('input', { type: 'radio', name, value: key, on: { change: () => changed(key) } });
				input.checked = key === value;
				return h('label', {}, input, h('span', { text: shown }));
			}),
		);
	};

	return { h, text, announce, copyButton, table, scroller, choice };
})();
