(root => {
  const spec = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  // In a tab that is not shown the figure itself has no width.
  spec.columns = (root.clientWidth || innerWidth - 500) < 640 ? 1 : 2;
  const draw = () => vegaEmbed(root.querySelector(".chart"), spec,
    {mode: "vega-lite", actions: false, renderer: "svg"}).catch(console.error);
  if (window.vegaEmbed) return draw();
  const script = document.getElementById("bdnb-vega") || document.createElement("script");
  script.addEventListener("load", draw);
  if (script.id) return;
  script.id = "bdnb-vega";
  script.src = (document.documentElement.dataset.content_root || "") + "_static/%s";
  document.head.append(script);
})(document.getElementById("%s"));
