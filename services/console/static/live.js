// Pages work without this. It replaces parts of them by what the server has rendered.
"use strict";

// Search as you type: the element named by data-live is replaced.
for (const form of document.querySelectorAll("form[data-live]")) {
  let timer, running;
  const update = async () => {
    const query = new URLSearchParams(new FormData(form));
    for (const [name, value] of [...query]) if (!value) query.delete(name);
    const address = `${form.action}?${query}`;
    running?.abort();
    running = new AbortController();
    try {
      const response = await fetch(address, {signal: running.signal});
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const found = page.getElementById(form.dataset.live);
      if (found) document.getElementById(form.dataset.live).replaceWith(found);
      history.replaceState(null, "", address);
    } catch (error) {
      if (error.name !== "AbortError") form.submit();
    }
  };
  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(update, 250); });
}

// Follow an order: each event is the new content of the element.
for (const part of document.querySelectorAll("[data-stream]")) {
  const source = new EventSource(part.dataset.stream);
  source.onmessage = (event) => {
    const open = new Set([...part.querySelectorAll("details")].flatMap((each, i) => each.open ? [i] : []));
    part.innerHTML = JSON.parse(event.data);
    part.querySelectorAll("details").forEach((each, i) => { each.open = open.has(i); });
  };
  source.addEventListener("end", () => { source.close(); });
  // Refused: too many follow, or the order cannot be read.
  source.onerror = () => { if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 3000); };
}
