// Drives Vercel's `ai` with its telemetry on: what it asks a tool for and what it makes of the results is one call of it.
//
// Called with the URL of the model, the file to write, and the calls as JSON.
import { appendFileSync } from "node:fs";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { SpanStatusCode, trace } from "@opentelemetry/api";
import { JsonTraceSerializer } from "@opentelemetry/otlp-transformer";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { embed, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const [url, path, given] = process.argv.slice(2);
const { calls, degrees, models, service } = JSON.parse(given);

// Writes the body of each OTLP/JSON request as a line, as a collector's file exporter does.
const exporter = {
  export(spans, done) {
    appendFileSync(path, Buffer.from(JsonTraceSerializer.serializeRequest(spans)).toString() + "\n");
    done({ code: 0 });
  },
  async shutdown() {},
};
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes(service),
  spanProcessors: [new BatchSpanProcessor(exporter)],
});
provider.register();

const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: "none" });
const MODELS = {
  chat: () => openai.chat(models.gpt),
  responses: () => openai.responses(models.gpt),
  messages: () => anthropic(models.claude),
};
const weather = tool({
  description: "The weather in a city.",
  inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"] }),
  execute: async ({ city }) => ({ celsius: degrees[city] }),
});

function partsOf(content) {
  if (typeof content === "string") return content;
  return content.map((part) => (part.type === "text" ? part : { type: "image", image: part.image_url.url }));
}

async function make(call) {
  const experimental_telemetry = { isEnabled: true, functionId: "shop_answer" };
  if (call.api === "embeddings") {
    return embed({ model: openai.embedding(models.embedder), value: call.asked, experimental_telemetry });
  }
  const system = call.messages.find((said) => said.role === "system")?.content;
  const messages = call.messages
    .filter((said) => ["user", "assistant"].includes(said.role) && said.content)
    .map((said) => ({ ...said, content: partsOf(said.content) }));
  const asked = {
    model: MODELS[call.api](),
    system,
    messages,
    maxRetries: 0,
    stopWhen: stepCountIs(3),
    experimental_telemetry,
    ...(call.tools ? { tools: { get_weather: weather } } : {}),
  };
  if (call.stream) return streamText({ ...asked, onError() {} }).consumeStream();
  return generateText(asked);
}

const tracer = trace.getTracer("shop");
for (const call of calls) {
  await tracer.startActiveSpan(`POST /${call.name}`, async (span) => {
    try {
      await make(call);
    } catch (error) {
      if (call.kind !== "failed") console.error(`${call.api} ${call.name}: ${error}`);
      span.setStatus({ code: SpanStatusCode.ERROR });
    }
    span.end();
  });
}
await provider.shutdown();
