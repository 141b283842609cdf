// Swagger UI on a page of Tidegate: the page says in `data-openapi` where its description is.
const ui = document.getElementById("ui");
SwaggerUIBundle({ url: ui.dataset.openapi, domNode: ui, deepLinking: true, tryItOutEnabled: true });
