// Asks `ocelli serve` with the official JavaScript clients of OpenAI, Ollama and Anthropic.
//
// usage: node check.mjs OCELLI
//
// Starts the server with the built-in demo model and ends it. Exit code 0: all passed; 1: something failed;
// 77: a package is missing (said loudly). Packages are looked for from the current folder.

import assert from "node:assert";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const installed = createRequire(pathToFileURL(`${process.cwd()}/`));

async function load(name) {
  try {
    return await import(pathToFileURL(installed.resolve(name)));
  } catch (error) {
    console.error(`SKIPPED: official JavaScript clients were NOT tested: ${error.message.split("\n")[0]}`);
    process.exit(77);
  }
}

const { default: OpenAI } = await load("openai");
const { Ollama } = await load("ollama");
const { default: Anthropic } = await load("@anthropic-ai/sdk");

const PICTURE = readFileSync(new URL("../../examples/scene.png", import.meta.url)).toString("base64");
const QUESTION = "What is in this picture?";
const MODEL = "ocelli-demo";
const PARAMETERS = {
  type: "object",
  properties: { color: { enum: ["red", "green", "blue"] } },
  required: ["color"],
  additionalProperties: false,
};

async function openai(url) {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  const content = [
    { type: "text", text: QUESTION },
    { type: "image_url", image_url: { url: `data:image/png;base64,${PICTURE}` } },
  ];
  const asked = { model: MODEL, messages: [{ role: "user", content }], temperature: 0, max_tokens: 300 };
  const whole = await client.chat.completions.create(asked);
  assert(whole.choices[0].message.content && whole.usage.images[0].tokens > 0);
  let streamed = "";
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
    streamed += chunk.choices[0]?.delta?.content ?? "";
  }
  assert.equal(streamed, whole.choices[0].message.content);
  const json_schema = { name: "seen", schema: PARAMETERS, strict: true };
  const formed = await client.chat.completions.create({ ...asked, response_format: { type: "json_schema", json_schema } });
  assert("color" in JSON.parse(formed.choices[0].message.content));
  const tools = [{ type: "function", function: { name: "report", parameters: PARAMETERS } }];
  const forced = { ...asked, tools, tool_choice: "required", parallel_tool_calls: false };
  const called = await client.chat.completions.stream(forced).finalChatCompletion();
  assert.equal(called.choices[0].message.tool_calls[0].function.name, "report");
  const input = [{ role: "user", content: [{ type: "input_text", text: QUESTION }] }];
  const response = await client.responses.create({ model: MODEL, input, max_output_tokens: 16 });
  assert(response.output_text);
  const stream = client.responses.stream({ model: MODEL, input, max_output_tokens: 16 });
  assert.equal((await stream.finalResponse()).output_text, response.output_text);
  await assert.rejects(client.chat.completions.create({ ...asked, model: "nosuch" }), OpenAI.NotFoundError);
  await assert.rejects(client.chat.completions.create({ ...asked, max_tokens: -1 }), OpenAI.BadRequestError);
  // Refused before its body came: the client must see the answer, not a broken connection.
  const file = new File([new Uint8Array(8 << 20)], "large.png");
  await assert.rejects(client.files.create({ file, purpose: "vision" }), OpenAI.NotFoundError);
}

async function ollama(url) {
  const client = new Ollama({ host: url });
  const options = { temperature: 0, num_predict: 300 };
  const messages = [{ role: "user", content: QUESTION, images: [PICTURE] }];
  const whole = await client.chat({ model: MODEL, messages, options });
  assert(whole.message.content && whole.eval_count > 0);
  let streamed = "";
  for await (const part of await client.chat({ model: MODEL, messages, options, stream: true })) {
    streamed += part.message.content;
  }
  assert.equal(streamed, whole.message.content);
  const formed = await client.chat({ model: MODEL, messages, options, format: PARAMETERS });
  assert("color" in JSON.parse(formed.message.content));
  assert((await client.show({ model: MODEL })).capabilities.includes("vision"));
  // As Ollama's examples ask: without saying that it is JSON.
  const body = JSON.stringify({ model: MODEL, prompt: QUESTION, stream: false, options });
  assert.equal((await fetch(`${url}/api/generate`, { method: "POST", body })).status, 200);
  await assert.rejects(client.embed({ model: MODEL, input: "x" }), /no embeddings/);
  await assert.rejects(client.chat({ model: "nosuch", messages }), /not found/);
  await assert.rejects(client.generate({ model: MODEL, prompt: "x", images: ["@"] }), /base64/);
}

async function anthropic(url) {
  const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
  const source = { type: "base64", media_type: "image/png", data: PICTURE };
  const content = [{ type: "image", source }, { type: "text", text: QUESTION }];
  const asked = { model: MODEL, max_tokens: 300, messages: [{ role: "user", content }] };
  const whole = await client.messages.create(asked);
  const streamed = await client.messages.stream(asked).finalMessage();
  assert.equal(streamed.content[0].text, whole.content[0].text);
  const tools = [{ name: "report", input_schema: PARAMETERS }];
  const called = await client.messages.stream({ ...asked, tools, tool_choice: { type: "any" } }).finalMessage();
  assert.equal(called.content.find((block) => block.type === "tool_use").name, "report");
  await assert.rejects(client.messages.create({ ...asked, model: "nosuch" }), Anthropic.NotFoundError);
}

if (process.argv.length !== 3) {
  console.error("usage: node check.mjs OCELLI");
  process.exit(1);
}
const server = spawn(process.argv[2], ["serve", "--port", "0"], { stdio: ["ignore", "ignore", "pipe"] });
const url = await new Promise((resolve, reject) => {
  let said = "";
  server.stderr.on("data", (data) => {
    said += data;
    const found = /listening on (http:\S+)\n/.exec(said);
    if (found) resolve(found[1]);
  });
  server.once("exit", () => reject(new Error(said)));
});
let failed = 0;
for (const check of [openai, ollama, anthropic]) {
  try {
    await check(url);
    console.log(`passed: ${check.name}`);
  } catch (error) {
    failed += 1;
    console.error(`FAILED: ${check.name}\n`, error);
  }
}
server.kill("SIGTERM");
process.exit(failed ? 1 : 0);
