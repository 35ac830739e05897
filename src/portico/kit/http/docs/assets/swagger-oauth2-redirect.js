// Hands the answer of the authorization server to the page that opened this window. A file of its own, as start.js.
const { auth, callback, errCb, redirectUrl, state } = window.opener.swaggerUIRedirectOauth2;
const answer = new URLSearchParams(location.search);
if (answer.get("state") === state && answer.get("code")) {
  auth.code = answer.get("code");
  callback({ auth, redirectUrl });
} else {
  const message = answer.get("error_description") || answer.get("error") || "The answer belongs to another request.";
  errCb({ authId: auth.name, source: "auth", level: "error", message });
}
window.close();
