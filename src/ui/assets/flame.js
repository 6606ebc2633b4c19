'use strict';
// Folded stacks as a tree, its rectangles, and the difference of two of them. No element is touched here.
const flame = (() => {
	// Frames deeper than this are counted to the frame there.
	const DEPTH_MAX = 256;

	const node = (name, parent) => ({
		name,
		parent,
		depth: parent ? parent.depth + 1 : 0,
		value: 0,
		self: 0,
		before: null,
		children: new Map(),
	});

	// The name without the hash that the compiler adds.
	const clean = (name) => name.replace(/::h[0-9a-f]{16}$/, '');

	// Of which kind a frame is: ours, of the kernel, of a library, or without a symbol.
	const OURS = /^(<*&?(mut )?)?(metricstream|metricstream_\w+|reactor|http1|metric|rate|log|wake|query)(::|$)/;
	const kindOf = (name) => {
		if (/(_\[k\]|\[kernel[^\]]*\])$/.test(name)) return 'kernel';
		if (/^(\[?unknown\]?|0x[0-9a-f]+|\?\?)/.test(name)) return 'unknown';
		return OURS.test(name) ? 'own' : 'library';
	};

	// Reads lines `a;b;c 12`. Lines that are none are counted. Functions have `self` and `total`, a recursive one once.
	const parse = (folded) => {
		const root = node('all', null),
			functions = new Map();
		let skipped = 0;
		for (const line of folded.split('\n')) {
			if (line.trim() === '') continue;
			const at = line.lastIndexOf(' '),
				count = Number(line.slice(at + 1));
			if (at < 1 || !Number.isSafeInteger(count) || count < 1) {
				skipped += 1;
				continue;
			}
			const names = line.slice(0, at).split(';').map(clean),
				seen = new Set();
			let own = root;
			root.value += count;
			for (const name of names.slice(0, DEPTH_MAX)) {
				if (!own.children.has(name)) own.children.set(name, node(name, own));
				own = own.children.get(name);
				own.value += count;
				if (seen.has(name)) continue;
				seen.add(name);
				if (!functions.has(name)) functions.set(name, { name, self: 0, total: 0 });
				functions.get(name).total += count;
			}
			own.self += count;
			const last = functions.get(own.name);
			if (last) last.self += count;
		}
		return { root, functions, total: root.value, skipped };
	};

	const sorted = (of) => [...of.children.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));

	// The rectangles of what is below `focus`, and of the frames above it, which are as wide as all. x is from 0 to 1;
	// what is narrower than `narrowest` is left out, with all above it.
	const layout = (focus, narrowest) => {
		const found = [],
			pending = [];
		for (let own = focus.parent; own; own = own.parent) found.push({ node: own, x: 0, width: 1, isAncestor: true });
		pending.push({ node: focus, x: 0, width: 1, isAncestor: false });
		let depth = focus.depth;
		while (pending.length) {
			const rectangle = pending.pop();
			found.push(rectangle);
			depth = Math.max(depth, rectangle.node.depth);
			let { x } = rectangle;
			for (const child of sorted(rectangle.node)) {
				const width = (child.value / focus.value) * 1;
				if (width >= narrowest) pending.push({ node: child, x, width, isAncestor: false });
				x += width;
			}
		}
		return { rectangles: found, depth };
	};

	// Sets `before` of each node of `later`: its value in `earlier`, scaled to as many samples as `later` has.
	const compare = (later, earlier) => {
		const pending = [[later.root, earlier?.root ?? null]];
		const times = earlier?.total ? later.total / earlier.total : 0;
		while (pending.length) {
			const [own, other] = pending.pop();
			own.before = earlier ? (other?.value ?? 0) * times : null;
			for (const [name, child] of own.children) pending.push([child, other?.children.get(name) ?? null]);
		}
	};

	// Functions by their own time, with their share before; those that are gone are in it.
	const hottest = (later, earlier, most) => {
		const names = new Set([...later.functions.keys(), ...(earlier?.functions.keys() ?? [])]);
		const share = (profile, name, key) =>
			profile?.total ? (profile.functions.get(name)?.[key] ?? 0) / profile.total : null;
		const list = [...names].map((name) => ({
			name,
			self: share(later, name, 'self'),
			total: share(later, name, 'total'),
			delta: earlier ? share(later, name, 'self') - share(earlier, name, 'self') : null,
		}));
		const size = ({ self, delta }) => (earlier ? Math.max(Math.abs(delta), self / 4) : self);
		return list
			.filter((one) => size(one) > 0)
			.sort((a, b) => size(b) - size(a) || (a.name < b.name ? -1 : 1))
			.slice(0, most);
	};

	// The samples in which a frame matches, each once.
	const matched = (root, matches) => {
		const pending = [root];
		let sum = 0;
		while (pending.length) {
			const own = pending.pop();
			if (own.parent && matches(own.name)) sum += own.value;
			else pending.push(...own.children.values());
		}
		return sum;
	};

	return { parse, layout, compare, hottest, matched, kindOf, sorted };
})();
