// The widgets' player typesets labels through MathJax 2's queue, which MathJax 3 does not have.
if (window.MathJax) {
  window.MathJax.Hub = {
    Queue: ([, , element]) =>
      window.MathJax.startup.promise.then(() => window.MathJax.typesetPromise([element])),
  };
}
