// A file of its own, because the page's content security policy lets no script in the page run.
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  oauth2RedirectUrl: `${location.origin}/docs/oauth2-redirect`,
});
window.ui.initOAuth({ usePkceWithAuthorizationCodeGrant: true });
