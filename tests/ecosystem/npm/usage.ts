// What somebody would write against the generated types; it is compiled, never run.
import type { components, operations, paths } from "./api";

type Key = components["schemas"]["Key"];
type Refusal = components["schemas"]["Error"];

const body: paths["/v0/api_keys"]["post"]["requestBody"]["content"]["application/json"] = { name: "laptop" };
const rotation: components["schemas"]["RotateKey"] = {};
const change: components["schemas"]["ChangeKey"] = { expires_at: null, role: "read" };
const query: operations["auth"]["parameters"]["query"] = { scope: ["photos:read", "photos:write"], role: "write" };

type Minted = operations["create_api_key"]["responses"][201];
const secretOf = (minted: Minted["content"]["application/json"]): string => minted.api_key;
const placeOf = (minted: Minted): string => minted.headers.Location;
const endOf = (key: Key): Date | null => (key.expires_at === null ? null : new Date(key.expires_at));
const isGood = (key: Key): boolean => key.status === "active";
const reasonOf = (refusal: Refusal): string => `${refusal.error_code}: ${refusal.message}`;
const actorOf = (entry: components["schemas"]["AuditEntry"]): string => entry.actor.owner;

// @ts-expect-error: a role that no key can have
const admin: components["schemas"]["CreateKey"] = { name: "laptop", role: "admin" };
// @ts-expect-error: a member that nobody knows
const misspelt: components["schemas"]["CreateKey"] = { name: "laptop", expires: "2099-01-01T00:00:00Z" };

export { actorOf, admin, body, change, endOf, isGood, misspelt, placeOf, query, reasonOf, rotation, secretOf };
