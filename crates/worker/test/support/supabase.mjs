// A Supabase project's data plane: real PostgreSQL and PostgREST, started by a program of the
// tests.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { program } from "./workerd.mjs";

/** The project: `url`, `key`, `postgrest`, `service_key`, `database_url`, and the function that stops it. */
export async function startSupabase() {
  const child = spawn(program("DRIFTLOCK_SUPABASE_BIN"), [], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const stop = async () => {
      const exit = once(child, "exit");
      child.stdin.end();
      await exit;
    };
    return { ...JSON.parse(line), stop };
  }
  throw new Error("the Supabase project did not start; its message is above");
}
