(() => {
  const tip = document.getElementById('tip');
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.style.display = 'block';
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(6, Math.min(x + 12, innerWidth - box.width - 6)) + 'px';
    tip.style.top = Math.max(6, y - box.height - 12) + 'px';
  };
  const hide = () => { tip.style.display = 'none'; };
  document.querySelectorAll('svg title').forEach(title => title.remove());
  document.addEventListener('pointerover', event => {
    const said = event.target.dataset && event.target.dataset.tip;
    if (said) show(said, event.clientX, event.clientY);
  });
  document.addEventListener('pointerout', hide);
  document.addEventListener('focusin', event => {
    const said = event.target.dataset && event.target.dataset.tip;
    if (!said) return;
    const box = event.target.getBoundingClientRect();
    show(said, box.x + box.width / 2, box.y);
  });
  document.addEventListener('focusout', hide);
  const day = JSON.parse(document.getElementById('day').textContent);
  document.querySelectorAll('svg.fan').forEach(svg => {
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'line');
    line.setAttribute('class', 'line cross');
    svg.appendChild(line);
    svg.addEventListener('pointermove', event => {
      const view = svg.viewBox.baseVal, box = svg.getBoundingClientRect();
      const x = (event.clientX - box.x) / box.width * view.width;
      const share = (x - 46) / (view.width - 60);
      const at = Math.round(share * (day.minutes.length - 1));
      if (at < 0 || at >= day.minutes.length) return;
      const [needed, serving, starting, shadow, low, middle, high] = day.minutes[at];
      line.setAttribute('x1', x); line.setAttribute('x2', x);
      line.setAttribute('y1', 12); line.setAttribute('y2', view.height - 38);
      const clock = new Date((day.start + 60 * at) * 1000).toISOString().slice(11, 16);
      const forecast = high === null ? '' : `\nforecast ${low} to ${high}, middle ${middle}`;
      show(`${clock} UTC: ${needed} needed\n${serving} serve, ${starting} start, ${shadow} in shadow${forecast}`, event.clientX, event.clientY);
    });
    svg.addEventListener('pointerleave', () => { hide(); line.removeAttribute('y1'); line.removeAttribute('y2'); });
  });
})();
