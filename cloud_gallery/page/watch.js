// Says so, and loads the page again, when a part of it did not come.

setTimeout(() => {
  if (document.body.dataset.runs) return;
  document.getElementById("status").textContent = "a part of this page did not come: loading it again";
  setTimeout(() => location.reload(), 3000);
}, 10000);
