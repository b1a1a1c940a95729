// Edits one list in Chromium from three tabs: two of one browser, one of another; with cut
// connections, a reloaded page and a restarted server. Arguments: the server's program and a
// folder for the screenshot.
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
const LIMIT = 30_000

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

/** A browser of its own, whose way to the server can be cut. */
class Person {
  sockets = new Set()
  told = []
  failures = []
  cut = false

  static async arrive(browser, server) {
    const person = new Person()
    person.proxy = net.createServer(near => person.pass(near, server.port))
    await once(person.proxy.listen(0, '127.0.0.1'), 'listening')
    person.url = server.url
    person.context = await browser.newContext({ viewport: { height: 480, width: 480 } })
    const way = `ws://127.0.0.1:${person.proxy.address().port}`
    await person.context.route('**/sync', route => route.fulfill({ body: way }))
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
    near.pipe(far).pipe(near)
  }

  goOffline() {
    this.cut = true
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
      socket.on('framereceived', ({ payload }) => this.hears(JSON.parse(payload)))
    })
    await page.goto(this.url)
    return page
  }

  sends([type, protocol, nodeId]) {
    if (type !== 'connect') return
    assert.equal(protocol, 5)
    this.name = nodeId.split(':').slice(0, 2).join(':')
  }

  hears([type, , ...items]) {
    if (type === 'sync') this.told.push(...items.filter((_, index) => index % 2 === 0))
  }

  /** A client gets the answers to its own actions, and of others only what changes the list. */
  isToldNoMore() {
    for (const action of this.told) {
      if (['logux/processed', 'logux/undo'].includes(action.type)) {
        assert.ok(action.id.includes(` ${this.name}:`), `${action.id} is not by ${this.name}`)
      } else {
        assert.match(action.type, /^items\/(add|remove)$/)
      }
    }
  }
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

/** The server's log has these additions, makes this list, and has each event and answer once. */
async function has(server, additions, items) {
  const look = async () => {
    const entries = await server.log()
    const ids = entries.map(([, meta]) => meta.id)
    const answered = entries.flatMap(([action]) => action.id ?? [])
    const asked = ids.filter(id => !id.includes(' server '))
    return {
      additions: entries.flatMap(([action]) => (addItem.match(action) ? action.text : [])).sort(),
      items: itemsOf(entries).map(item => item.text),
      repeated: [...repeated(ids), ...repeated(answered)],
      unanswered: asked.filter(id => !answered.includes(id))
    }
  }
  const expected = { additions: additions.toSorted(), items, repeated: [], unanswered: [] }
  await until("the server's log", look, expected)
}

let steps = 0
function step(text) {
  steps += 1
  console.log(`- ${text}`)
}

const server = new Server()
// However this ends.
process.on('exit', () => server.process?.kill())
await server.start()
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
  const ann = await Person.arrive(browser, server)
  const bob = await Person.arrive(browser, server)
  const ann1 = await ann.openTab()
  await be('synchronized', ann1)
  const ann2 = await ann.openTab()
  const bob1 = await bob.openTab()
  const everywhere = [ann1, ann2, bob1]

  step('what one adds, all see')
  await be('synchronized', ...everywhere)
  assert.equal(ann.sockets.size, 1, 'two tabs of a browser have one connection')
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
  const before = ['milk', 'bread', 'eggs', long, 'salt', 'rice']
  await has(server, before, ['bread', 'eggs', 'salt', 'rice'])

  step('with a connection, all is the same everywhere')
  ann.goOnline()
  const merged = ['eggs', 'salt', 'jam', 'tea', 'rice']
  await show(everywhere, merged)
  await be('synchronized', ...everywhere)
  assert.equal(ann.sockets.size, 1, 'two tabs of a browser have one connection')
  await has(server, [...before, 'jam', 'tea'], merged)

  const screenshot = join(folder, 'web-example.png')
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
  }
  console.log(`${steps} passed, 0 failed`)
} finally {
  await browser.close()
}
process.exit()
