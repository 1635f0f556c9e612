"use strict";
// Packed traces back to numbers, and as many of them as a view can show.
const tracePoints = (() => {
  const POINTS_IN_VIEW = 2400; // of a line: more than there are pixels

  async function inflated(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }

  const unpacked = new Map();

  async function points(number, trace) {
    if (unpacked.has(number)) return unpacked.get(number);
    const buffer = await inflated(document.getElementById(`trace-${number}`).textContent);
    let place = 0;
    const take = (Kind, count) => {
      const size = count * Kind.BYTES_PER_ELEMENT;
      const values = new Kind(buffer.slice(place, place + size));
      place += size;
      return values;
    };
    const dimensions = trace.dimensions.map((dimension) => {
      const steps = take(Int32Array, dimension.points);
      const times = new Float64Array(steps.length);
      let ticks = 0;
      steps.forEach((step, i) => {
        ticks += Math.abs(step);
        times[i] = trace.start + ticks * trace.tick;
      });
      const values = () => {
        const levels = take(Int16Array, dimension.points);
        const span = dimension.high - dimension.low;
        const restored = Float64Array.from(levels, (level) =>
          level === -32768 ? NaN : dimension.low + ((level + 32767) / 65534) * span);
        return trace.classes ? restored.map(Math.round) : restored;
      };
      const predicted = values();
      return { times, afterGap: steps.map((step) => step < 0), predicted, truth: trace.truth ? values() : null };
    });
    unpacked.clear(); // one at a time is enough
    unpacked.set(number, dimensions);
    return dimensions;
  }

  function firstAtOrAfter(times, value) {
    let low = 0, high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // A line within a view: every point, or of each stretch of neighbours the smallest and the largest.
  function line(dimension, values, from, to) {
    const { times, afterGap } = dimension;
    const first = Math.max(0, firstAtOrAfter(times, from) - 1);
    const last = Math.min(times.length, firstAtOrAfter(times, to) + 1);
    const width = Math.max(1, Math.ceil((2 * (last - first)) / POINTS_IN_VIEW));
    const x = [], y = [];
    let gap = false;
    const put = (i) => {
      if (gap && x.length) { x.push(times[i]); y.push(null); }
      gap = false;
      x.push(times[i]);
      y.push(Number.isNaN(values[i]) ? null : values[i]);
    };
    for (let start = first; start < last; start += width) {
      const end = Math.min(start + width, last);
      let least = start, most = start;
      for (let i = start; i < end; i++) {
        gap = gap || Boolean(afterGap[i]);
        if (Number.isNaN(values[i])) continue;
        if (!(values[i] >= values[least])) least = i;
        if (!(values[i] <= values[most])) most = i;
      }
      put(Math.min(least, most));
      if (least !== most) put(Math.max(least, most));
    }
    return { x, y };
  }

  return { inflated, points, line };
})();
