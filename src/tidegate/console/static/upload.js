// Sends the files of a form before the form: each to the API as it is, with progress, then the form with their ids.
(() => {
  "use strict";
  const size = (bytes) => bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;

  const send = (file, onSent, started) => new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    started(request);
    request.open("POST", "/api/v1/uploads");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => onSent(event.loaded);
    request.onabort = () => failed(new Error("stopped: nothing was handed in"));
    request.onerror = () => failed(new Error("the control plane did not take the file: is it there, and is the file still what was chosen?"));
    request.onload = () => {
      let told = {};
      try { told = JSON.parse(request.responseText); } catch { /* said below */ }
      if (request.status === 201) done(told.id);
      else failed(new Error(told.error || `the control plane answered ${request.status}`));
    };
    request.send(file);
  });

  const fault = (form, text) => {
    const shown = form.querySelector("[data-fault]");
    shown.textContent = text;
    shown.hidden = !text;
  };

  const hide = (form, name, value) => {
    let field = form.querySelector(`input[type=hidden][name=${name}]`);
    if (!field) {
      field = document.createElement("input");
      Object.assign(field, { type: "hidden", name });
      form.append(field);
    }
    field.value = value;
  };

  const refused = (file, bytesMax) => {
    if (file.size === 0) return `${file.name} is empty`;
    if (bytesMax && file.size > bytesMax) return `${file.name} has ${size(file.size)} and this server takes ${size(bytesMax)}: raise TIDEGATE_UPLOAD_BYTES_MAX to take it`;
    return "";
  };

  document.querySelectorAll("form[data-upload]").forEach((form) => {
    const inputs = [...form.querySelectorAll("input[data-file]")], sending = form.querySelector(".sending");
    const bar = sending.querySelector("progress"), told = sending.querySelector("[data-sent]"), button = form.querySelector("button.primary");
    let request = null;
    form.enctype = "application/x-www-form-urlencoded"; // without scripts the files go along: here they are sent before
    sending.querySelector("[data-stop]").addEventListener("click", () => request?.abort());
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const chosen = inputs.filter((input) => input.files.length), total = chosen.reduce((sum, input) => sum + input.files[0].size, 0);
      const wrong = chosen.map((input) => refused(input.files[0], Number(form.dataset.bytesMax) || 0)).find((text) => text);
      fault(form, wrong || "");
      if (wrong) return;
      // Of files that were sent before, and of which the page came back: they may not be chosen any more.
      inputs.forEach((input) => form.querySelectorAll(`input[type=hidden]:is([name=${input.dataset.file}], [name=${input.dataset.name}])`).forEach((field) => field.remove()));
      button.disabled = true;
      sending.hidden = false;
      let before = 0;
      try {
        for (const input of chosen) {
          const file = input.files[0];
          const id = await send(file, (loaded) => {
            bar.value = (before + loaded) / total;
            told.textContent = `${size(before + loaded)} of ${size(total)}`;
          }, (started) => { request = started; });
          before += file.size;
          hide(form, input.dataset.file, id);
          hide(form, input.dataset.name, file.name);
        }
        form.submit();
      } catch (error) {
        fault(form, error.message);
      } finally {
        button.disabled = false;
        sending.hidden = true;
      }
    });
  });
})();
