"use strict";
// Shows one account and one region of what the page holds; without this script all accounts are there.
(() => {
  const form = document.querySelector(".filters form");
  if (!form) return;
  const accounts = form.querySelector("[name=account]");
  const pickers = [...form.querySelectorAll("[data-picks]")];
  const status = form.querySelector("[role=status]");
  const show = () => {
    const account = accounts ? accounts.value : "0";
    let region = "all";
    for (const picker of pickers) {
      const isMine = picker.dataset.picks === account;
      picker.hidden = !isMine;
      if (isMine) region = picker.querySelector("select").value;
    }
    for (const view of document.querySelectorAll("[data-account]")) view.hidden = view.dataset.account !== account;
    const view = document.querySelector(`[data-account="${account}"]`);
    for (const part of view.querySelectorAll("[data-scope]")) part.hidden = part.dataset.scope !== region;
    for (const cell of view.querySelectorAll("[data-column]")) {
      cell.hidden = region !== "all" && cell.dataset.column !== region;
    }
    for (const row of view.querySelectorAll("[data-regions]")) {
      row.hidden = region === "all" ? !("first" in row.dataset) : !row.dataset.regions.split(" ").includes(region);
    }
    const name = (select) => (select ? select.selectedOptions[0].textContent.trim() : "");
    const picker = pickers.find((each) => !each.hidden);
    status.textContent = [name(accounts), name(picker && picker.querySelector("select"))].filter(Boolean).join(", ") + " shown";
  };
  form.parentElement.hidden = false;
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("pageshow", show);
  show();
})();
