"use strict";

// Swagger UI's own search reads nothing but tags. This one reads what an operation says about itself, and wants every
// word that was typed.
const wordsOf = (phrase) => phrase.toLowerCase().split(/\s+/).filter(Boolean);

const textOf = (operation, tag) =>
  [
    tag,
    operation.get("method"),
    operation.get("path"),
    ...["operationId", "summary", "description"].map((member) => operation.getIn(["operation", member], "")),
  ]
    .join(" ")
    .toLowerCase();

const search = (groups, phrase) =>
  groups
    .map((group, tag) =>
      group.update("operations", (operations) =>
        operations.filter((operation) => wordsOf(phrase).every((word) => textOf(operation, tag).includes(word))),
      ),
    )
    .filter((group) => group.get("operations").size);

const SearchField =
  ({ React }) =>
  ({ layoutSelectors, layoutActions, specSelectors }) => {
    const filter = layoutSelectors.currentFilter();
    const phrase = typeof filter === "string" ? filter : "";
    const found = search(specSelectors.taggedOperations(), phrase).reduce(
      (sum, group) => sum + group.get("operations").size,
      0,
    );
    return React.createElement(
      "section",
      { className: "wrapper", role: "search" },
      React.createElement("input", {
        className: "docs-search",
        type: "search",
        "aria-label": "Search the operations",
        placeholder: "Search paths, names and descriptions",
        value: phrase,
        onChange: (event) => layoutActions.updateFilter(event.target.value || true),
      }),
      React.createElement(
        "p",
        { className: "docs-found", role: "status" },
        phrase && (found === 1 ? "1 operation" : `${found || "No"} operations`),
      ),
    );
  };

// No field of this page is one for a browser to fill in or to remember.
const Input =
  (Original, { React }) =>
  (props) =>
    React.createElement(Original, { autoComplete: "off", ...props });

window.ui = SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#docs",
  plugins: [
    (system) => ({
      fn: { opsFilter: search },
      components: { FilterContainer: SearchField(system) },
      wrapComponents: { Input },
    }),
  ],
  filter: true,
  deepLinking: true,
  validatorUrl: null,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
});
