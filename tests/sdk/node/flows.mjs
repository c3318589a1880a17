// What an app does with the OpenAI SDK for Node, call by call; prints one line of JSON with what it found.
//
//   node flows.mjs http://127.0.0.1:8080/v1 http://127.0.0.1:9090/v1 FOLDER
//
// The second address drops the answer of every first try; the folder holds first.png and takes what is downloaded.
import fs from 'node:fs';
import path from 'node:path';
import { randomBytes } from 'node:crypto';
import OpenAI, { toFile } from 'openai';

const [api, lossy, folder] = process.argv.slice(2);
const SLOW = '[slow 60]'; // Keeps a sandbox video from ending before it is cancelled.
const ORDER = { model: 'sandbox/demo', seconds: '1', size: '640x360' };
const FIELDS = [
  'id', 'object', 'model', 'status', 'progress', 'created_at', 'completed_at', 'expires_at', 'prompt', 'seconds',
  'size', 'remixed_from_video_id', 'error',
];
const first = path.join(folder, 'first.png');
const dataUrl = `data:image/png;base64,${fs.readFileSync(first).toString('base64')}`;

const sent = [];
const connect = (baseURL) =>
  new OpenAI({
    baseURL,
    apiKey: 'unused',
    fetch: (url, options) => {
      sent.push({ retry: new Headers(options.headers).get('x-stainless-retry-count') });
      return fetch(url, options);
    },
  });
const client = connect(api);

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function finished(video) {
  while (video.status === 'queued' || video.status === 'in_progress') {
    await pause(100);
    video = await client.videos.retrieve(video.id);
  }
  return video;
}

const cancel = (video) => client.post(`/videos/${video.id}/cancel`, {});
const outcome = ({ status, progress, seconds, size }) => ({ status, progress, seconds, size });
const missing = (video) => FIELDS.filter((name) => !(name in video));
const roles = (video) => video.request.inputs.map(({ role, media_type, width, height }) => [role, media_type, width, height]);

async function refusal(call, ...words) {
  const before = sent.length;
  try {
    await call();
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    return {
      class: error.constructor.name,
      status: error.status,
      code: error.code,
      param: error.param,
      'silent about': words.filter((word) => !error.message.includes(word)),
      traceable: /^req_[0-9a-f]{24}$/.test(error.requestID ?? ''),
      tries: sent.length - before,
    };
  }
  return { class: null };
}

async function all(list) {
  const ids = [];
  for await (const video of list) ids.push(video.id);
  return ids;
}

const flows = {
  async made() {
    const { data: video, response, request_id } = await client.videos
      .create({ prompt: 'A lighthouse', ...ORDER })
      .withResponse();
    const ended = await finished(video);
    flows.video = ended;
    return {
      missing: [...missing(video), ...missing(ended)],
      ...outcome(ended),
      error: ended.error,
      'poll after is whole': Number.isInteger(Number(response.headers.get('openai-poll-after-ms') ?? 'none')),
      'request id': request_id !== null && request_id === response.headers.get('x-request-id'),
    };
  },
  async listed() {
    const mine = [];
    for (let number = 0; number < 5; number += 1) {
      mine.push((await client.videos.create({ prompt: `List me, ${number}`, ...ORDER })).id);
    }
    const newest = await all(client.videos.list({ limit: 2 }));
    const oldest = await all(client.videos.list({ limit: 2, order: 'asc' }));
    return {
      'mine, newest first': JSON.stringify(newest.filter((id) => mine.includes(id))) === JSON.stringify([...mine].reverse()),
      twice: newest.length - new Set(newest).size,
      'both ways the same': JSON.stringify(newest) === JSON.stringify([...oldest].reverse()),
    };
  },
  async downloaded() {
    const facts = {};
    for (const variant of ['video', 'thumbnail', 'spritesheet']) {
      const answer = await client.videos.downloadContent(flows.video.id, { variant });
      const bytes = Buffer.from(await answer.arrayBuffer());
      fs.writeFileSync(path.join(folder, `node-${variant}`), bytes);
      facts[variant] = [answer.headers.get('content-type'), bytes.length === Number(answer.headers.get('content-length'))];
    }
    return facts;
  },
  async deleted() {
    const video = await finished(await client.videos.create({ prompt: 'Delete me', ...ORDER }));
    const gone = await client.videos.delete(video.id);
    return {
      answer: [gone.object, gone.deleted, gone.id === video.id],
      retrieve: await refusal(() => client.videos.retrieve(video.id), video.id),
    };
  },
  async unfinished() {
    const video = await client.videos.create({ prompt: `Patience ${SLOW}`, ...ORDER });
    const content = await refusal(() => client.videos.downloadContent(video.id), 'not ready');
    await cancel(video);
    const ended = await finished(video);
    return { content, cancelled: [ended.status, ended.error.code] };
  },
  async failed() {
    const video = await finished(await client.videos.create({ prompt: 'Dark [fail]', ...ORDER }));
    return [video.status, video.error.code];
  },
  async remixed() {
    const video = await client.videos.remix(flows.video.id, { prompt: 'At noon' });
    return { of: video.remixed_from_video_id === flows.video.id, ...outcome(await finished(video)) };
  },
  async edited() {
    // The stream has no length, so this upload is chunked.
    const stream = fs.createReadStream(path.join(folder, 'node-video'));
    const made = {
      id: await client.videos.edit({ prompt: 'Snow', video: { id: flows.video.id } }),
      stream: await client.videos.edit({ prompt: 'Snow', video: stream, model: ORDER.model }),
    };
    const facts = {};
    for (const [name, video] of Object.entries(made)) {
      facts[name] = { of: video.parent_video_id === flows.video.id, ...outcome(await finished(video)) };
    }
    return facts;
  },
  async extended() {
    const video = await client.videos.extend({ prompt: 'On', seconds: '1', video: { id: flows.video.id } });
    return outcome(await finished(video));
  },
  async referenced() {
    const file = await client.files.create({ file: fs.createReadStream(first), purpose: 'user_data' });
    const made = {
      stream: fs.createReadStream(first),
      file: await toFile(fs.readFileSync(first), 'a/b c.jpg', { type: 'image/jpeg' }),
      image_url: { image_url: dataUrl },
      file_id: { file_id: file.id },
    };
    const facts = {};
    for (const [name, reference] of Object.entries(made)) {
      const video = await client.videos.create({ prompt: `From here ${SLOW}`, input_reference: reference, ...ORDER });
      facts[name] = roles(video);
      await cancel(video);
    }
    return facts;
  },
  async objects() {
    const alike = ['subject', 'style'].map((role) => ({ image_url: dataUrl, role }));
    const mixed = [{ image_url: dataUrl }, { image_url: dataUrl, name: 'Ann' }];
    const form = await client.videos.create({ prompt: `Together ${SLOW}`, input_references: alike, ...ORDER });
    const json = await client.post('/videos', { body: { prompt: `Together ${SLOW}`, input_references: mixed, ...ORDER } });
    await cancel(form);
    await cancel(json);
    return {
      form: roles(form).length,
      json: roles(json).length,
      mixed: await refusal(() => client.videos.create({ prompt: 'x', input_references: mixed, ...ORDER }), 'JSON'),
    };
  },
  async superset() {
    const fields = { seed: 7, generate_audio: false, metadata: { shot: '12a' }, provider: { only: ['sandbox'] } };
    const video = await client.videos.create({ prompt: `Ours ${SLOW}`, ...fields, ...ORDER });
    await cancel(video);
    return [video.request.seed, video.request.audio, video.metadata, video.request.provider.only];
  },
  async sold() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return ['sandbox/demo', 'sora-2'].filter((id) => !ids.includes(id));
  },
  async refused() {
    const order = (fields) => () => client.videos.create({ prompt: 'x', ...ORDER, ...fields });
    const text = await toFile(Buffer.from('not a picture'), 'a.png', { type: 'image/png' });
    return {
      'no picture': await refusal(order({ input_reference: text }), 'PNG'),
      address: await refusal(order({ input_reference: { image_url: 'http://127.0.0.1/a.png' } }), 'data:'),
      'empty prompt': await refusal(order({ prompt: ' ' }), 'what the clip should show'),
      'unknown field': await refusal(order({ colour: 'red' }), "'colour'"),
      'unknown model': await refusal(order({ model: 'nobody/nothing' }), 'nobody/nothing'),
      'not sold': await refusal(order({ seconds: '599' }), 'seconds'),
      'unknown video': await refusal(() => client.videos.retrieve('video_nobody'), 'video_nobody'),
    };
  },
  async lost() {
    const prompt = `Lost and found ${randomBytes(8).toString('hex')} ${SLOW}`;
    const before = sent.length;
    const video = await connect(lossy).videos.create({ prompt, ...ORDER });
    const tries = sent.slice(before).map(({ retry }) => retry);
    const jobs = [];
    for await (const each of client.videos.list({ limit: 100 })) if (each.prompt === prompt) jobs.push(each.id === video.id);
    await cancel(video);
    return { tries, jobs };
  },
};

const facts = {};
for (const [name, flow] of Object.entries(flows)) {
  try {
    facts[name] = await flow();
  } catch (error) {
    facts[name] = { crashed: String(error.stack) };
  }
}
const { version } = JSON.parse(fs.readFileSync(new URL('./node_modules/openai/package.json', import.meta.url)));
process.stdout.write(`${JSON.stringify({ version, facts })}\n`);
