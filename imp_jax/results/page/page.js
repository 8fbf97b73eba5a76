// Draws the page's charts anew so that they can be pointed at, hides series
// that are toggled off, and sorts and filters tables. Without it all is there.
(() => {
  "use strict";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const state = { drawn: 0, errors: [] };
  window.report = state;
  function failed(error) {
    state.errors.push(String(error));
    console.error(error);
  }
  window.addEventListener("error", (event) => failed(event.message));

  const ink = () => getComputedStyle(document.body).color;
  function themed(spec) {
    if (!dark.matches) return spec;
    // Series in black are none in the dark.
    const text = JSON.stringify(spec).replaceAll('"#000000"', '"#ffffff"');
    const result = JSON.parse(text);
    const colour = ink();
    const axis = { labelColor: colour, titleColor: colour, gridColor: "#4a4d52" };
    result.config = {
      ...result.config,
      axis: { ...result.config.axis, ...axis },
      legend: { ...result.config.legend, labelColor: colour, titleColor: colour },
      title: { ...result.config.title, color: colour },
      text: { fill: colour },
    };
    return result;
  }

  function hiddenIn(study) {
    const boxes = study.querySelectorAll(".toggles input:not(:checked)");
    return [...boxes].map((box) => box.value);
  }

  async function draw(figure) {
    if (figure.view || typeof vegaEmbed === "undefined") return;
    const place = figure.querySelector(".chart");
    const text = figure.querySelector(".spec").textContent;
    const made = document.createElement("div");
    try {
      const spec = { ...themed(JSON.parse(text)), background: "transparent" };
      const { view } = await vegaEmbed(made, spec, {
        actions: false,
        renderer: "svg",
        loader: { target: "_self" }, // for what points link to
      });
      figure.view = view;
      place.replaceChildren(made);
      await hide(figure, hiddenIn(figure.closest(".study")));
      state.drawn += 1;
    } catch (error) {
      failed(error);
    }
  }

  function hide(figure, names) {
    return figure.view ? figure.view.signal("hidden", names).runAsync() : null;
  }

  const figures = [...document.querySelectorAll("figure")];
  if ("IntersectionObserver" in window) {
    const near = new IntersectionObserver(
      (found) => found.forEach((e) => e.isIntersecting && draw(e.target)),
      { rootMargin: "600px" },
    );
    figures.forEach((figure) => near.observe(figure));
  } else {
    figures.forEach(draw);
  }
  state.drawAll = () => Promise.all(figures.map(draw));
  dark.addEventListener("change", () => {
    for (const figure of figures.filter((f) => f.view)) {
      figure.view.finalize();
      figure.view = null;
      draw(figure);
    }
  });

  document.addEventListener("change", (event) => {
    const study = event.target.closest(".toggles")?.closest(".study");
    if (!study) return;
    const names = hiddenIn(study);
    study.querySelectorAll("figure").forEach((figure) => hide(figure, names));
  });

  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a.svg");
    if (link && !link.dataset.ready) {
      event.preventDefault();
      const figure = link.closest("figure");
      const svg = figure.view
        ? await figure.view.toSVG()
        : figure.querySelector(".chart > svg").outerHTML;
      link.href = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
      link.dataset.ready = "yes";
      link.click();
      delete link.dataset.ready;
      return;
    }
    const head = event.target.closest(".sortable th");
    if (head) sort(head);
  });

  function sort(head) {
    const table = head.closest("table");
    const column = [...head.parentNode.children].indexOf(head);
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) {
      other.removeAttribute("aria-sort");
    }
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.children[column].textContent;
    const body = table.tBodies[0];
    const order = new Intl.Collator("en", { numeric: true });
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)].map(parseFloat);
      if (!Number.isNaN(x) && !Number.isNaN(y) && x !== y) return x - y;
      return order.compare(value(a), value(b));
    };
    const rows = [...body.rows].sort(compare);
    body.replaceChildren(...(up ? rows : rows.reverse()));
  }

  document.addEventListener("input", (event) => {
    if (!event.target.matches(".filter")) return;
    const words = event.target.value.toLowerCase().split(/\s+/);
    const rows = event.target.parentNode.querySelector("tbody").rows;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });

  // What a point links to is open to be seen.
  function open() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const details = target?.closest("details");
    if (!details) return;
    details.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", open);
  open();
})();
