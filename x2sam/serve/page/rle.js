// Masks as COCO's run lengths: columns from left to right, each from top to bottom, first a run outside the mask.

/** Compressed text -> run lengths. */
export function runsOf(counts) {
  const runs = [];
  let value = 0, shift = 0;
  for (let i = 0; i < counts.length; i++) {
    const group = counts.charCodeAt(i) - 48;
    value |= (group & 0x1f) << shift;
    shift += 5;
    if (group & 0x20) continue;
    if (group & 0x10 && shift < 32) value |= -1 << shift;
    runs.push(value + (runs.length > 2 ? runs[runs.length - 2] : 0));
    value = shift = 0;
  }
  return runs;
}

/** Run lengths -> compressed text. */
export function countsOf(runs) {
  const codes = [];
  for (let i = 0; i < runs.length; i++) {
    let rest = runs[i] - (i > 2 ? runs[i - 2] : 0), more = true;
    while (more) {
      let group = rest & 0x1f;
      rest >>= 5;
      more = group & 0x10 ? rest !== -1 : rest !== 0;
      if (more) group |= 0x20;
      codes.push(String.fromCharCode(group + 48));
    }
  }
  return codes.join('');
}

/** Run lengths -> bytes of 0 and 1, row by row. */
export function bitmapOf(runs, height, width) {
  const bitmap = new Uint8Array(height * width);
  let at = 0;
  runs.forEach((run, i) => {
    if (i % 2) for (let p = at; p < at + run; p++) bitmap[(p % height) * width + ((p / height) | 0)] = 1;
    at += run;
  });
  return bitmap;
}

/** Bytes, row by row -> run lengths. */
export function runsFrom(bitmap, height, width) {
  const runs = [];
  let last = 0, length = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0, p = x; y < height; y++, p += width) {
      if (bitmap[p] !== last) { runs.push(length); length = 0; last = bitmap[p]; }
      length++;
    }
  }
  runs.push(length);
  return runs;
}

/** The union of two masks. */
export function union(a, b) {
  const out = [0];
  let i = 0, j = 0, left = a[0] ?? 0, right = b[0] ?? 0, inside = 0;
  while (i < a.length || j < b.length) {
    while (i < a.length && !left) left = a[++i] ?? 0;
    while (j < b.length && !right) right = b[++j] ?? 0;
    const step = Math.min(i < a.length ? left : Infinity, j < b.length ? right : Infinity);
    if (step === Infinity) break;
    const now = (i < a.length && i % 2) || (j < b.length && j % 2) ? 1 : 0;
    if (now !== inside) { out.push(0); inside = now; }
    out[out.length - 1] += step;
    left -= step;
    right -= step;
  }
  return out;
}

/** Pixels of a mask, and its box [x0, y0, x1, y1]. */
export function measure(runs, height) {
  let area = 0, at = 0, x0 = Infinity, y0 = Infinity, x1 = 0, y1 = 0;
  runs.forEach((run, i) => {
    if (i % 2 && run) {
      const first = (at / height) | 0, last = ((at + run - 1) / height) | 0;
      area += run;
      x0 = Math.min(x0, first);
      x1 = Math.max(x1, last + 1);
      y0 = Math.min(y0, first === last ? at % height : 0);
      y1 = Math.max(y1, first === last ? ((at + run - 1) % height) + 1 : height);
    }
    at += run;
  });
  return { area, box: area ? [x0, y0, x1, y1] : [0, 0, 0, 0] };
}

/** Whether a pixel belongs to a mask. */
export function holds(runs, height, x, y) {
  const wanted = x * height + y;
  let at = 0;
  for (let i = 0; i < runs.length; i++) {
    at += runs[i];
    if (wanted < at) return i % 2 === 1;
  }
  return false;
}

/** Intersection over union. */
export function overlap(a, b, height) {
  const both = measure(union(a, b), height).area;
  return both ? (measure(a, height).area + measure(b, height).area - both) / both : 0;
}
