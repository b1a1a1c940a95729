// Looks at the status page in Chromium, on a wide and a narrow screen, light and dark, while 50 clients are connected
// in all codecs over both transports. Arguments: the program, and a folder for the screenshots.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'

import { chromium } from 'playwright-core'

const [program, folder] = process.argv.slice(2).map(path => resolve(path))
const LIMIT = 60_000
const CLIENTS = 50
const CODECS = ['json', 'message-pack', 'xml']

const home = mkdtempSync(join(tmpdir(), 'logux-sync-page-'))
const environment = { ...process.env, LOGUX_SYNC_STATE: join(home, 'state'), USER: 'anna' }
const running = []
// However this ends.
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(home, { force: true, recursive: true })
})

/** Waits until `look` gives something true, and otherwise tells what it gave last. */
async function until(what, look) {
  const end = Date.now() + LIMIT
  let seen
  do {
    seen = await look()
    if (seen) return seen
    await new Promise(resolve => setTimeout(resolve, 20))
  } while (Date.now() < end)
  assert.fail(`${what} did not happen within ${LIMIT} ms: ${seen}`)
}

function start(...options) {
  const child = spawn(program, options, {
    cwd: home,
    env: environment,
    stdio: ['ignore', 'ignore', 'pipe']
  })
  running.push(child)
  return child
}

async function serve() {
  const server = start(
    'serve', '--address', '127.0.0.1:0', '--operations', '127.0.0.1:0', '--log-level', 'warn'
  )
  let url
  for await (const line of createInterface(server.stderr)) {
    url ??= line.match(/serving at (\S+),/)?.[1]
    const page = line.match(/its state is at (\S+)/)?.[1]
    if (page) return { page, server, url }
  }
  assert.fail('the server did not start')
}

function add(url, events, user = 'anna') {
  const input = events.map(event => JSON.stringify(event) + '\n').join('')
  const options = ['add', '--server', url, '--user', user]
  const added = spawnSync(program, options, { env: environment, input })
  assert.equal(added.status, 0, String(added.stderr))
}

const { page: address, server, url } = await serve()
const types = ['todo/add', 'todo/done', 'chat/say', '<img src=x onerror="document.title=\'caught\'">']
for (let number = 0; number < CLIENTS; number += 1) {
  start(
    'follow', '--since', number % 5 === 0 ? 'start' : 'now', '--user', `user${number % 20}`,
    '--codec', CODECS[number % 3], '--server', number % 2 ? url : url.replace('ws:', 'http:')
  )
}
const browser = await chromium.launch({
  args: ['--no-sandbox'],
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium'
})

async function open(width, height, colorScheme) {
  const context = await browser.newContext({ colorScheme, viewport: { height, width } })
  const page = await context.newPage()
  const wrong = []
  page.on('pageerror', error => wrong.push(error.message))
  page.on('request', request => {
    if (!request.url().startsWith(address)) wrong.push(`it asks for ${request.url()}`)
  })
  await page.goto(address)
  return { page, wrong }
}

const text = (page, id) => page.locator(`#${id}`).textContent()
const views = []
for (const [width, height, scheme] of [[1280, 900, 'light'], [390, 844, 'dark']]) {
  views.push({ scheme, width, ...(await open(width, height, scheme)) })
}
const [{ page: wide }] = views
await until('50 connections are shown', async () => (await text(wide, 'connections')) === `${CLIENTS}`)
for (let round = 0; round < 12; round += 1) {
  const events = Array.from({ length: 20 * (1 + round % 4) }, (_, number) => ({
    n: number, type: types[(number + round) % types.length]
  }))
  add(url, events, `user${round}`)
  await wide.waitForTimeout(400)
}
for (const { page, scheme, width, wrong } of views) {
  await until('all clients are in step', async () => {
    const [events, behind, connections] = await Promise.all(
      ['events', 'behind', 'connections'].map(id => text(page, id))
    )
    return events === '600' && behind === '0' && connections === `${CLIENTS}`
  })
  assert.equal(await text(page, 'state'), 'serving')
  assert.equal(await page.locator('#list tr').count(), CLIENTS)
  const rows = await page.locator('#list tr').allTextContents()
  for (const codec of CODECS) {
    for (const transport of ['websocket', 'long-poll']) {
      assert.ok(rows.some(row => row.includes(codec) && row.includes(transport)), `${codec} over ${transport}`)
    }
  }
  assert.ok(await page.locator('#plot .line').count(), 'there is no plot')
  // What others wrote is text.
  const last = await page.locator('#last').textContent()
  assert.ok(last.includes('<img src=x'), last)
  assert.equal(await page.locator('#last img').count(), 0)
  assert.match(await page.title(), /^server:/)
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
  assert.ok(overflow <= 0, `the page is ${overflow} px too wide for ${width}`)
  await page.screenshot({ fullPage: true, path: join(folder, `status-${width}-${scheme}.png`) })
  assert.deepEqual(wrong, [])
}
server.kill('SIGKILL')
await until('the page says that the server is gone', async () =>
  (await text(wide, 'state')).startsWith('no answer'))
await browser.close()
console.log(`the status page shows ${CLIENTS} clients; screenshots are in ${folder}`)
process.exit(0)
