(root => {
  const spec = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  spec.columns = root.clientWidth < 640 ? 1 : 2;
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
