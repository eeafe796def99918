// Pictures of a moment: bars, distributions, the value over time.

export const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

export function number(value, digits = 3) {
  if (value === null || value === undefined) return "-";
  const size = Math.abs(value);
  return size >= 1e6 || (size > 0 && size < 1e-3) ? value.toExponential(2) : value.toFixed(digits);
}

// A canvas as sharp as the screen; its context has the size of CSS pixels.
export function context(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

// The numbers of a list; those that JSON has not, of an agent that has diverged, are null in it.
export const finite = (values) => values.filter(Number.isFinite);

// One row of a return's distribution: a line at each return, as high as it is probable.
export function distribution(canvas, returns, probabilities, [low, high], mean, chosen) {
  const { pen, width, height } = context(canvas);
  const x = (value) => ((value - low) / (high - low || 1)) * (width - 4) + 2;
  const top = Math.max(...finite(probabilities));
  pen.fillStyle = color(chosen ? "--chosen" : "--bar");
  returns.forEach((value, i) => {
    if (value === null || probabilities[i] === null) return;
    const tall = (probabilities[i] / top) * (height - 4);
    pen.fillRect(x(value) - 1, height - tall, 2, tall);
  });
  if (mean === null) return;
  pen.fillStyle = color("--ink");
  pen.beginPath(); // the mean
  pen.moveTo(x(mean) - 4, 0);
  pen.lineTo(x(mean) + 4, 0);
  pen.lineTo(x(mean), 7);
  pen.fill();
}

export function history(canvas, values) {
  const { pen, width, height } = context(canvas);
  const shown = 300; // steps
  const begin = Math.max(0, values.length - shown);
  const recent = values.slice(begin).filter(Number.isFinite);
  if (!recent.length) return;
  const [low, high] = [Math.min(...recent), Math.max(...recent)];
  const y = (value) => height - 10 - ((value - low) / (high - low || 1)) * (height - 20);
  pen.strokeStyle = color("--bar");
  pen.lineWidth = 1.5;
  pen.beginPath();
  for (let i = begin; i < values.length; i += 1) {
    if (Number.isFinite(values[i])) pen.lineTo(((i - begin) / (shown - 1)) * (width - 70), y(values[i]));
  }
  pen.stroke();
  pen.fillStyle = color("--quiet");
  pen.font = "12px system-ui, sans-serif";
  pen.textAlign = "right";
  pen.fillText(number(high), width, 12);
  if (high > low) pen.fillText(number(low), width, height - 4);
}

export function picture(canvas, bitmap, scale) {
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(bitmap, 0, 0, width, height);
  return pen;
}

// The frames that lie side by side in a picture, a canvas each.
export function frames(box, bitmap) {
  const side = bitmap.height;
  const count = bitmap.width / side;
  while (box.children.length < count) box.append(document.createElement("canvas"));
  [...box.children].forEach((canvas, i) => {
    if (canvas.width !== side) Object.assign(canvas, { width: side, height: side });
    canvas.getContext("2d").drawImage(bitmap, i * side, 0, side, side, 0, 0, side, side);
  });
}
