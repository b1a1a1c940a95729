// Edits one list in Chromium from three tabs: two of one browser, one of another; with cut
// connections, a reloaded page and a restarted server; over WebSocket, and where that is blocked.
// Arguments: the server's program and a folder for the screenshot.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { isDeepStrictEqual } from 'node:util'

import { chromium } from 'playwright-core'

import { addItem, itemsOf } from './page/items.js'

const [program, folder] = process.argv.slice(2)
// Over long-poll a browser takes half a minute to notice that it is cut off.
const LIMIT = 60_000

/** Waits until `look` gives what is expected, and otherwise tells what it gave last. */
async function until(what, look, expected) {
  const end = Date.now() + LIMIT
  let seen
  do {
    seen = await look()
    if (isDeepStrictEqual(seen, expected)) return
    await new Promise(resolve => setTimeout(resolve, 20))
  } while (Date.now() < end)
  assert.deepEqual(seen, expected, `${what}, within ${LIMIT} ms`)
}

class Server {
  addresses = []

  async start() {
    this.process = spawn(program, this.addresses, { stdio: ['ignore', 'pipe', 'inherit'] })
    // However this ends.
    process.once('exit', () => this.process.kill())
    const line = once(createInterface(this.process.stdout), 'line')
    const [url] = await Promise.race([line, once(this.process, 'exit')])
    assert.match(String(url), /^http:/, 'the server did not start')
    this.url = url
    const sync = await (await fetch(url + 'sync')).text()
    this.port = Number(new URL(sync).port)
    this.addresses = [new URL(url).host, new URL(sync).host]
  }

  async stop() {
    this.process.kill('SIGINT')
    const [code] = await once(this.process, 'exit')
    assert.equal(code, 0, 'the server did not end in order')
  }

  async log() {
    return (await fetch(this.url + 'log')).json()
  }
}

/** What becomes of WebSockets between a browser and the server: requests of others are `POST`. */
const webSockets = {
  pass: () => 'pass',
  end: head => (head.startsWith('GET ') ? 'end' : 'pass'),
  hang: head => (head.startsWith('GET ') ? 'hang' : 'pass')
}

/** A browser of its own, whose way to the server can be cut. */
class Person {
  sockets = new Set()
  told = []
  failures = []
  cut = false
  /** How often the server let it in since its way was last cut, and over what. */
  logins = []
  /** How many sessions of long-poll it has ended. */
  ended = 0

  static async arrive(browser, server, treatment) {
    const person = new Person()
    person.treatment = treatment
    person.proxy = net.createServer(near => person.pass(near, server.port))
    await once(person.proxy.listen(0, '127.0.0.1'), 'listening')
    person.url = server.url
    person.context = await browser.newContext({ viewport: { height: 480, width: 480 } })
    // In the page: where requests are intercepted, a browser asks before each one whether it may (CORS),
    // and after a page is gone it does not.
    await person.context.addInitScript(way => {
      const { fetch } = window
      window.fetch = (url, init) => (url === '/sync' ? new Response(way) : fetch(url, init))
    }, `ws://127.0.0.1:${person.proxy.address().port}`)
    return person
  }

  pass(near, port) {
    if (this.cut) return near.destroy()
    const far = net.connect(port, '127.0.0.1')
    this.sockets.add(near)
    const end = () => {
      near.destroy()
      far.destroy()
      this.sockets.delete(near)
    }
    for (const socket of [near, far]) socket.on('error', end).on('close', end)
    near.on('data', request => {
      if (/^logux-send: \d+ \d+ end\r$/im.test(request.toString('latin1'))) this.ended += 1
    })
    near.once('data', head => {
      const treated = this.treatment(head.toString('latin1'))
      if (treated === 'hang') return
      if (treated === 'end') return end()
      far.write(head)
      near.pipe(far).pipe(near)
    })
  }

  goOffline() {
    this.cut = true
    this.logins = []
    for (const socket of this.sockets) socket.destroy()
  }

  goOnline() {
    this.cut = false
  }

  async openTab() {
    const page = await this.context.newPage()
    page.on('pageerror', error => this.failures.push(error.stack))
    page.on('websocket', socket => {
      socket.on('framesent', ({ payload }) => this.sends(JSON.parse(payload)))
      socket.on('framereceived', ({ payload }) => this.hears(JSON.parse(payload), 'WebSocket'))
    })
    page.on('request', request => messages(request.postDataBuffer()).forEach(one => this.sends(one)))
    page.on('response', async response => {
      if (response.request().method() !== 'POST') return
      // Of a page that is gone there is none any more.
      const body = await response.body().catch(() => undefined)
      if (response.ok()) messages(body).forEach(one => this.hears(one, 'long-poll'))
    })
    await page.goto(this.url)
    return page
  }

  sends([type, protocol, nodeId]) {
    if (type !== 'connect') return
    assert.equal(protocol, 5)
    this.name = nodeId.split(':').slice(0, 2).join(':')
  }

  hears([type, , ...items], way) {
    if (type === 'connected') this.logins.push(way)
    if (type === 'sync') this.told.push(...items.filter((_, index) => index % 2 === 0))
  }

  /** A client gets an answer to each of its own actions, and of others only what changes the list. */
  isToldNoMore() {
    const answered = this.told.flatMap(({ type, id }) => (/^logux\//.test(type) ? id : []))
    assert.deepEqual(repeated(answered), [], 'answered twice')
    for (const action of this.told) {
      if (['logux/processed', 'logux/undo'].includes(action.type)) {
        assert.ok(action.id.includes(` ${this.name}:`), `${action.id} is not by ${this.name}`)
      } else {
        assert.match(action.type, /^items\/(add|remove)$/)
      }
    }
  }
}

/** The messages of a body of long-poll: see transports/LONG_POLL.md. */
function messages(body) {
  const found = []
  for (let at = 0; at < (body?.length ?? 0); ) {
    const end = at + 4 + body.readUInt32BE(at)
    found.push(JSON.parse(body.subarray(at + 4, end)))
    at = end
  }
  return found
}

const list = page => page.locator('li span').allTextContents()
const stateIs = wanted => async page => (await page.locator('output').textContent()).includes(wanted)

async function add(page, text) {
  await page.getByRole('textbox').fill(text)
  await page.getByRole('button', { name: 'Add' }).click()
}

async function remove(page, text) {
  await page.locator('li', { hasText: text }).getByRole('button').click()
}

async function all(what, pages, look, expected) {
  await Promise.all(pages.map(page => until(what, () => look(page), expected)))
}

const show = (pages, items) => all('the list', pages, list, items)
const be = (state, ...pages) => all(`the state ${state}`, pages, stateIs(state), true)

const repeated = items => items.filter((item, index) => items.indexOf(item) !== index)

/** The server's log has these additions, makes this list, and has each event once. */
async function has(server, additions, items) {
  const look = async () => {
    const entries = await server.log()
    const ids = entries.map(([, meta]) => meta.id)
    return {
      additions: entries.flatMap(([action]) => (addItem.match(action) ? action.text : [])).sort(),
      items: itemsOf(entries).map(item => item.text),
      repeated: repeated(ids)
    }
  }
  const expected = { additions: additions.toSorted(), items, repeated: [] }
  await until("the server's log", look, expected)
}

let steps = 0
function step(text) {
  steps += 1
  console.log(`- ${text}`)
}

/** Two people edit the list, one of them in two tabs. */
async function edit(browser, way, treatments) {
  console.log(`${way}:`)
  const server = new Server()
  await server.start()
  const [ann, bob] = await Promise.all(
    treatments.map(treatment => Person.arrive(browser, server, treatment))
  )
  // Two tabs of a browser have one.
  const areConnected = async () => {
    for (const { logins } of [ann, bob]) await until(`connections over ${way}`, () => logins, [way])
  }
  const ann1 = await ann.openTab()
  await be('synchronized', ann1)
  const ann2 = await ann.openTab()
  const bob1 = await bob.openTab()
  const everywhere = [ann1, ann2, bob1]

  step('what one adds, all see')
  await be('synchronized', ...everywhere)
  await areConnected()
  await add(ann1, 'milk')
  await show(everywhere, ['milk'])
  await add(bob1, 'bread')
  await show(everywhere, ['milk', 'bread'])
  await add(ann2, 'eggs')
  await show(everywhere, ['milk', 'bread', 'eggs'])
  await remove(bob1, 'milk')
  await show(everywhere, ['bread', 'eggs'])
  await be('synchronized', ...everywhere)

  step('what the server refuses is undone, and nobody else sees it')
  // As much as piles up in a long time without a connection.
  const long = 'x'.repeat(1 << 20)
  await add(ann2, long)
  await be('denied', ann1, ann2)
  await add(bob1, 'salt')
  await show(everywhere, ['bread', 'eggs', 'salt'])
  assert.ok(!bob.told.some(action => action.text === long), 'what was refused was sent on')

  step('a browser without a connection goes on')
  ann.goOffline()
  await be('disconnected', ann1, ann2)
  await add(ann1, 'jam')
  await add(ann2, 'tea')
  await remove(ann2, 'bread')
  await add(bob1, 'rice')
  await show([ann1, ann2], ['eggs', 'salt', 'jam', 'tea'])
  await show([bob1], ['bread', 'eggs', 'salt', 'rice'])

  step('and has all of it after a reload; the other tab now leads')
  await ann1.reload()
  await show([ann1, ann2], ['eggs', 'salt', 'jam', 'tea'])
  const before = ['milk', 'bread', 'eggs', 'salt', 'rice']
  await has(server, before, ['bread', 'eggs', 'salt', 'rice'])

  step('with a connection, all is the same everywhere')
  ann.goOnline()
  const merged = ['eggs', 'salt', 'jam', 'tea', 'rice']
  await show(everywhere, merged)
  await be('synchronized', ...everywhere)
  await until('two tabs of a browser have one connection', () => ann.logins, [way])
  await has(server, [...before, 'jam', 'tea'], merged)

  const screenshot = join(folder, `web-example-${way.toLowerCase()}.png`)
  await ann1.screenshot({ path: screenshot })
  console.log(`  ${screenshot}`)

  step('a server that starts with an empty log takes what is new')
  await server.stop()
  await be('disconnected', bob1)
  await add(ann1, 'figs')
  await add(bob1, 'corn')
  await server.start()
  await show(everywhere, [...merged, 'figs', 'corn'])
  await be('synchronized', ...everywhere)
  await has(server, ['figs', 'corn'], ['figs', 'corn'])

  for (const person of [ann, bob]) {
    person.isToldNoMore()
    assert.deepEqual(person.failures, [], 'errors in the page')
    await person.context.close()
  }
  await server.stop()
}

/** A page whose user goes elsewhere. */
async function leave(browser) {
  console.log('long-poll, left:')
  const server = new Server()
  await server.start()
  const eve = await Person.arrive(browser, server, webSockets.end)
  const page = await eve.openTab()
  await be('synchronized', page)

  step('ends its session at once')
  await page.goto('about:blank')
  await until('how many sessions were ended', () => eve.ended, 1)

  step('and has another when it is there again')
  await page.goBack()
  await be('synchronized', page)
  await until('the logins', () => eve.logins, ['long-poll', 'long-poll'])
  await eve.context.close()
  await server.stop()
}

/** A page of another origin than the server was told of. */
async function intrude(browser) {
  console.log('another origin:')
  const server = new Server()
  await server.start()
  const context = await browser.newContext()
  const page = await context.newPage()
  const said = []
  page.on('console', message => said.push(message.text()))
  const { port } = new URL(server.url)
  await page.goto(`http://localhost:${port}/`)

  step('is let in neither way')
  await add(page, 'spam')
  const refusals = [/WebSocket connection .* failed: .*403/, /from origin .* blocked by CORS policy/]
  const look = () => refusals.map(refusal => said.some(text => refusal.test(text)))
  await until(`the refusals in ${said}`, look, [true, true])
  await has(server, [], [])
  await context.close()
  await server.stop()
}

const browser = await chromium.launch({
  args: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync'
  ],
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium'
})
try {
  await edit(browser, 'WebSocket', [webSockets.pass, webSockets.pass])
  await edit(browser, 'long-poll', [webSockets.end, webSockets.hang])
  await leave(browser)
  await intrude(browser)
  console.log(`${steps} passed, 0 failed`)
} finally {
  await browser.close()
}
process.exit()
