// What an app does with OpenRouter's SDK and with the Vercel AI SDK; prints one line of JSON with what it found.
//
//   node openrouter.mjs http://video.gateway.test:8080 KEY first.png
//
// The AI SDK downloads clips bare, and from nothing it takes for an address of this machine: so the gateway goes by a
// name here, which is led back to loopback below the SDKs, where a router would do it.
import fs from 'node:fs';
import net from 'node:net';

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...words) {
  const options = Array.isArray(words[0]) ? words[0][0] : words[0];
  if (options?.host?.endsWith('.test')) {
    options.host = '127.0.0.1';
    delete options.lookup;
  }
  return connect.apply(this, words);
};

const { OpenRouter } = await import('@openrouter/sdk');
const { createOpenRouter } = await import('@openrouter/ai-sdk-provider');
const { experimental_generateVideo: generateVideo } = await import('ai');

const [url, apiKey, picture] = process.argv.slice(2);
const serverURL = `${url}/api/v1`;
const client = new OpenRouter({ apiKey, serverURL, retryConfig: { strategy: 'none' } });
const model = 'sandbox/demo';

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const order = (videoGenerationRequest, who = client) =>
  who.videoGeneration.generate({ videoGenerationRequest: { model, prompt: 'a cat', duration: 1, ...videoGenerationRequest } });

async function ended(video) {
  while (video.status === 'pending' || video.status === 'in_progress') {
    await pause(100);
    video = await client.videoGeneration.getGeneration({ jobId: video.id });
  }
  return video;
}

async function refusal(call) {
  try {
    await call();
  } catch (error) {
    return [error.constructor.name, error.statusCode, error.error?.code, error.error?.metadata?.param ?? null];
  }
  return ['not refused'];
}

const isClip = (bytes) => [Buffer.from(bytes).subarray(4, 8).toString('latin1'), bytes.byteLength > 1000];

const flows = {
  async made() {
    const ordered = await order({ size: '640x360', seed: 3, generateAudio: true, user: 'u', sessionId: 's' });
    const video = await ended(ordered);
    const bare = await fetch(video.unsignedUrls[0]);
    const content = await client.videoGeneration.getVideoContent({ jobId: video.id, index: 0 });
    return {
      ordered: [ordered.status, ordered.pollingUrl === `${serverURL}/videos/${ordered.id}`],
      ended: [video.status, video.unsignedUrls.length, video.usage],
      bare: [bare.status, isClip(await bare.arrayBuffer())],
      content: isClip(await new Response(content).arrayBuffer()),
    };
  },

  async badly() {
    const video = await ended(await order({ prompt: 'a cat [fail]' }));
    return [video.status, video.error, video.unsignedUrls ?? null];
  },

  async models() {
    const { data } = await client.videoGeneration.listVideosModels();
    const found = data.find(({ id }) => id === 'google/veo-3.1-fast');
    const { supportedDurations, supportedResolutions, supportedFrameImages, pricingSkus } = found;
    return { supportedDurations, supportedResolutions, supportedFrameImages, pricingSkus };
  },

  async refused() {
    return {
      length: await refusal(() => order({ duration: 99 })),
      size: await refusal(() => order({ size: '3x3' })),
      model: await refusal(() => order({ model: 'nobody/nothing' })),
      creativity: await refusal(() => order({ creativity: 3 })),
      key: await refusal(() => order({}, new OpenRouter({ apiKey: 'rgk_wrong', serverURL }))),
      job: await refusal(() => client.videoGeneration.getGeneration({ jobId: 'nobody' })),
    };
  },

  async vercel() {
    const openrouter = createOpenRouter({ apiKey, baseURL: serverURL });
    const made = await generateVideo({
      model: openrouter.videoModel(model, { pollIntervalMs: 100 }),
      prompt: 'A calico cat',
      resolution: '640x360',
      duration: 1,
      seed: 3,
    });
    return [made.videos.length, isClip(made.videos[0].uint8Array), made.video.mediaType, made.warnings];
  },

  async pictured() {
    const openrouter = createOpenRouter({ apiKey, baseURL: serverURL });
    const { video } = await generateVideo({
      model: openrouter.videoModel(model, { pollIntervalMs: 100, generateAudio: false }),
      prompt: { image: fs.readFileSync(picture), text: 'go' },
      duration: 1,
    });
    return isClip(video.uint8Array);
  },
};

const facts = {};
for (const [name, flow] of Object.entries(flows)) facts[name] = await flow();
console.log(JSON.stringify(facts));
