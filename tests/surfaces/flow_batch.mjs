// Make a batch of clips through useapi's Google Flow API, with nothing but Node.
//
//   node flow_batch.mjs BASE TOKEN EMAIL prompts.json FOLDER
//
// prompts.json is a list of {prompt, startImage?, endImage?, ...}: pictures by path, and whatever else POST /videos
// takes. Every picture is uploaded once; every clip is ordered at once, then waited for and downloaded.
import fs from 'node:fs/promises';
import path from 'node:path';

const [base, token, email, prompts, folder] = process.argv.slice(2);
const types = { '.png': 'image/png', '.jpg': 'image/jpeg', '.webp': 'image/webp' };

async function call(method, where, body, type = 'application/json') {
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': type };
  const answer = await fetch(`${base}${where}`, { method, headers, body });
  const said = await answer.json();
  if (!answer.ok) throw new Error(`${answer.status} ${JSON.stringify(said)}`);
  return [answer.status, said];
}

const account = encodeURIComponent(email);
const [, about] = await call('GET', `/accounts/${account}`);
if (about.health !== 'OK') throw new Error(about.health);

const uploaded = new Map();
const jobs = new Map();
for (const [number, item] of JSON.parse(await fs.readFile(prompts, 'utf8')).entries()) {
  for (const name of ['startImage', 'endImage']) {
    const picture = item[name];
    if (!picture) continue;
    if (!uploaded.has(picture)) {
      const bytes = await fs.readFile(picture);
      const [, asset] = await call('POST', `/assets/${account}`, bytes, types[path.extname(picture)]);
      uploaded.set(picture, asset.mediaGenerationId.mediaGenerationId);
    }
    item[name] = uploaded.get(picture);
  }
  const [status, job] = await call('POST', '/videos', JSON.stringify({ email, ...item, async: true }));
  if (status !== 201 || job.status !== 'created') throw new Error(JSON.stringify(job));
  jobs.set(job.jobid, `clip${number}`);
}

while (jobs.size) {
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (const [jobid, name] of [...jobs]) {
    const [, job] = await call('GET', `/jobs/${jobid}`);
    if (!['completed', 'failed'].includes(job.status)) continue;
    jobs.delete(jobid);
    console.log(name, job.status, job.error ?? '');
    for (const [number, media] of (job.response?.media ?? []).entries()) {
      const clip = await fetch(media.videoUrl); // its address is all it needs
      await fs.writeFile(path.join(folder, `${name}-${number}.mp4`), Buffer.from(await clip.arrayBuffer()));
    }
  }
}
