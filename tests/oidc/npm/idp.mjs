// A real OpenID provider (npm oidc-provider, OpenID certified) for the tests. Prints one JSON line when it listens.
//   node idp.mjs [port]      IDP_ALG=RS256|ES256|EdDSA  IDP_AUDIENCE=keyhook  IDP_TTL=300  IDP_REDIRECT=http://127.0.0.1:5000/...
// IDP_KEY, a private JWK, is the first key: one that is still there after a restart.
// Sign-in is the provider's own form: any name works, the password is not looked at. What a person is, is in PEOPLE.
// POST /_test/rotate (?drop=1: the old key is gone from the JWKS too), POST /_test/jwks?status=503, GET /_test/seen
import { createServer } from "node:http";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { Provider } from "oidc-provider";

const port = Number(process.argv[2] ?? 5090);
const issuer = `http://127.0.0.1:${port}`;
const { IDP_ALG: alg = "RS256", IDP_AUDIENCE: audience = "keyhook", IDP_TTL: ttl = "300" } = process.env;
const redirect = process.env.IDP_REDIRECT ?? "http://127.0.0.1:5000/console/callback";
const RESOURCE = "urn:keyhook"; // RFC 8707 wants an absolute URI; what the token says as `aud` is the audience
const KINDS = { RS256: ["rsa", { modulusLength: 2048 }], ES256: ["ec", { namedCurve: "P-256" }], EdDSA: ["ed25519"] };
const PEOPLE = {
  alice: { groups: ["keyhook-admins", "staff"], tenant: "default", email: "alice@example.com", email_verified: true },
  bob: { groups: ["keyhook-readers"], tenant: "team-b", email: "bob@example.com", email_verified: true },
  mallory: { groups: [], email: "mallory@example.com", email_verified: false },
};
const claimsOf = (id) => ({ ...PEOPLE[id], preferred_username: id, realm_access: { roles: PEOPLE[id]?.groups ?? [] } });

function newKey() {
  const { privateKey } = generateKeyPairSync(...KINDS[alg]);
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg };
}

function provider(keys) {
  return new Provider(issuer, {
    jwks: { keys },
    clients: [
      { client_id: "keyhook", client_secret: "keyhook-client-secret-of-the-tests", redirect_uris: [redirect],
        post_logout_redirect_uris: [new URL("/", redirect).href], id_token_signed_response_alg: alg },
      { client_id: "robot", client_secret: "robot-client-secret-of-the-tests", redirect_uris: [], response_types: [],
        grant_types: ["client_credentials"], id_token_signed_response_alg: alg },
      { client_id: "cli", token_endpoint_auth_method: "none", redirect_uris: [], response_types: [],
        grant_types: ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"], id_token_signed_response_alg: alg },
    ],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["preferred_username"], groups: ["groups", "tenant"] },
    scopes: ["openid", "profile", "email", "groups", "offline_access"],
    conformIdTokenClaims: false, // groups in the ID token itself, as most providers do
    pkce: { required: () => true },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...claimsOf(id) }) }),
    extraTokenClaims: (ctx, token) => (token.accountId ? claimsOf(token.accountId) : { groups: ["keyhook-writers"] }),
    async loadExistingGrant(ctx) { // nobody is asked for consent
      const { client: { clientId }, session, provider: { Grant } } = ctx.oidc;
      const given = session.grantIdFor(clientId);
      const grant = (given && (await Grant.find(given))) || new Grant({ clientId, accountId: session.accountId });
      grant.addOIDCScope("openid profile email groups offline_access");
      grant.addResourceScope(RESOURCE, "keyhook");
      await grant.save();
      return grant;
    },
    features: {
      clientCredentials: { enabled: true }, deviceFlow: { enabled: true }, introspection: { enabled: true },
      revocation: { enabled: true }, backchannelLogout: { enabled: true },
      resourceIndicators: { // a JWT as RFC 9068 has it, for one audience
        enabled: true, defaultResource: () => RESOURCE, useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope: "keyhook", audience, accessTokenFormat: "jwt", accessTokenTTL: Number(ttl), jwt: { sign: { alg } } }),
      },
    },
    ttl: { IdToken: Number(ttl), AccessToken: Number(ttl), ClientCredentials: Number(ttl) },
  });
}

let keys = [process.env.IDP_KEY ? JSON.parse(process.env.IDP_KEY) : newKey()];
let serve = provider(keys).callback();
let jwksStatus = 200;
const seen = {};
createServer((request, response) => {
  const url = new URL(request.url, issuer);
  seen[url.pathname] = (seen[url.pathname] ?? 0) + 1;
  if (url.pathname === "/_test/seen") return response.end(JSON.stringify(seen));
  if (url.pathname === "/_test/rotate") {
    keys = [newKey(), ...(url.searchParams.has("drop") ? [] : keys)];
    serve = provider(keys).callback();
    return response.end(keys[0].kid);
  }
  if (url.pathname === "/_test/jwks") return response.end(String((jwksStatus = Number(url.searchParams.get("status")))));
  if (url.pathname === "/jwks" && jwksStatus !== 200) return response.writeHead(jwksStatus).end("out of order");
  return serve(request, response);
}).listen(port, "127.0.0.1", () => console.log(JSON.stringify({ issuer, alg, audience, redirect })));
