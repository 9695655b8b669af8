// Makes one call with OpenAI's npm client: an order in JSON on standard input, a report in JSON on standard output.
'use strict';

const { text } = require('node:stream/consumers');
const OpenAI = require('openai');

const CALLS = {
  create: (completions, { body }) => completions.create(body),

  // Counts the chunks as an application reads them, and lets the client put them together.
  async stream(completions, { body }) {
    const stream = completions.stream(body);
    let content = '';
    let chunks = 0;
    for await (const chunk of stream) {
      chunks += 1;
      content += chunk.choices[0]?.delta?.content ?? '';
    }
    return { chunks, content, completion: await stream.finalChatCompletion() };
  },

  // The client's own loop of tools; `answers` are what each tool returns, call by call.
  async tools(completions, { body, answers }) {
    const calls = [];
    const tools = body.tools.map((tool) => ({
      ...tool,
      function: {
        ...tool.function,
        parse: JSON.parse,
        function: (args) => {
          calls.push([tool.function.name, args]);
          return answers[tool.function.name].shift();
        },
      },
    }));
    const runner = completions.runTools({ ...body, tools });
    return { content: await runner.finalContent(), calls, messages: runner.messages.length };
  },
};

async function main() {
  const order = JSON.parse(await text(process.stdin));
  const client = new OpenAI({ baseURL: order.url, apiKey: order.key, maxRetries: 0, timeout: order.timeout });
  try {
    return { reply: await CALLS[order.call](client.chat.completions, order) };
  } catch (error) {
    if (!(error instanceof OpenAI.OpenAIError)) throw error;
    const { status, code, param, type, message, requestID } = error;
    return { error: { name: error.constructor.name, status, code, param, type, message, requestID } };
  }
}

main().then((report) => process.stdout.write(JSON.stringify(report)));
