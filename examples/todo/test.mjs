// Keeps lists and notes in Chromium, as Anna and as Bert: with wrong tokens, refused events, cut
// connections, a reloaded page and a server that is killed in the middle of its work.
// Arguments: the server's program and a folder for the screenshots. SEED repeats the moments at
// which the server is killed.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { isDeepStrictEqual } from 'node:util'

import { chromium } from 'playwright-core'

import { tasksOf } from './page/tasks.js'

const [program, folder] = process.argv.slice(2)
const LIMIT = 60_000
const TOO_LONG = 'x'.repeat(101)

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

let steps = 0
function step(text) {
  steps += 1
  console.log(`- ${text}`)
}

/** The server, on one file and, from its first start on, one port. */
class Server {
  address = '127.0.0.1:0'

  constructor(file) {
    this.file = file
    // However this ends.
    process.once('exit', () => this.process?.kill('SIGKILL'))
  }

  async start() {
    const { address, file } = this
    this.process = spawn(program, [address, file], { stdio: ['ignore', 'pipe', 'inherit'] })
    const line = once(createInterface(this.process.stdout), 'line')
    const [url] = await Promise.race([line, once(this.process, 'exit')])
    assert.match(String(url), /^http:/, 'the server did not start')
    this.url = url
    this.address = new URL(url).host
  }

  async stop() {
    this.process.kill('SIGINT')
    const [code] = await once(this.process, 'exit')
    assert.equal(code, 0, 'the server did not end in order')
  }

  async kill() {
    this.process.kill('SIGKILL')
    const [, signal] = await once(this.process, 'exit')
    assert.equal(signal, 'SIGKILL', 'the server had ended before it was killed')
  }

  /** What `process` did elsewhere. */
  async journal() {
    const lines = (await readFile(`${this.file}.journal`, 'utf8')).split('\n').slice(0, -1)
    return lines.map(line => {
      const [id, event] = line.split('\t')
      return [JSON.parse(event), { id }]
    })
  }
}

/** A browser of its own, whose way to the server can be cut. */
class Person {
  sockets = new Set()
  told = []
  failures = []
  cut = false

  static async arrive(browser, server, user, viewport = { height: 700, width: 1000 }) {
    const person = new Person()
    person.user = user
    person.url = server.url
    person.proxy = net.createServer(near => person.pass(near, new URL(server.url).port))
    await once(person.proxy.listen(0, '127.0.0.1'), 'listening')
    person.context = await browser.newContext({ viewport })
    // Only what is synchronized goes through the proxy: a page without a connection is reloaded.
    await person.context.addInitScript(way => {
      window.WebSocket = class extends WebSocket {
        constructor(url, protocols) {
          super(url.replace(location.host, way), protocols)
        }
      }
    }, `127.0.0.1:${person.proxy.address().port}`)
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

  async openTab(token = `secret-of-${this.user}`) {
    const page = await this.context.newPage()
    page.on('pageerror', error => this.failures.push(error.stack))
    page.on('websocket', socket => {
      socket.on('framereceived', ({ payload }) => this.told.push(JSON.parse(payload)))
    })
    await page.goto(`${this.url}#user=${this.user}&token=${token}`)
    return page
  }

  /** Of what it was told, whatever has this text in it. */
  heard(text) {
    return this.told.filter(message => JSON.stringify(message).includes(text))
  }

  async leave() {
    assert.deepEqual(this.failures, [], `errors in ${this.user}'s page`)
    await this.context.close()
    this.proxy.close()
  }
}

const section = (page, list) => page.locator(list === 'notes' ? '#notes' : `[data-list=${list}]`)
const tasks = list => page => section(page, list).locator('li span').allTextContents()
const waiting = list => page => section(page, list).locator('li.waiting span').allTextContents()
const notes = async page =>
  (await page.locator('#notes li input').evaluateAll(all => all.map(input => input.value))).sort()
const refusals = page => page.locator('#refused li').allTextContents()
const state = page => page.locator('output').textContent()

async function add(page, list, text) {
  await section(page, list).locator('form input').fill(text)
  await section(page, list).getByRole('button', { name: 'Add' }).click()
}

async function finish(page, list, text) {
  await section(page, list).locator('li', { hasText: text }).getByRole('button').click()
}

/** The note that has this text now. */
async function note(page, text) {
  const index = (
    await page.locator('#notes li input').evaluateAll(all => all.map(input => input.value))
  ).indexOf(text)
  assert.notEqual(index, -1, `there is no note ${text}`)
  return page.locator('#notes li').nth(index)
}

async function changeNote(page, from, to) {
  const input = (await note(page, from)).locator('input')
  await input.fill(to)
  await input.press('Enter')
}

/** Has the page's client send an action, and answers how to learn what became of it. */
async function sync(page, ...actions) {
  const key = await page.evaluate(actions => {
    window.outcomes ??= []
    const outcomes = actions.map(() => 'none')
    actions.forEach((action, index) => {
      client.sync(action).then(
        () => (outcomes[index] = 'processed'),
        error => (outcomes[index] = `undone: ${error.action?.reason ?? error.message}`)
      )
    })
    return window.outcomes.push(outcomes) - 1
  }, actions)
  return () => page.evaluate(key => window.outcomes[key], key)
}

const task = (list, text) => ({ list, text, type: 'tasks/add' })

async function all(what, pages, look, expected) {
  await Promise.all(pages.map(page => until(what, () => look(page), expected)))
}

/** The pages say of their connection what begins so. `wait`: there is none, and something waits for it. */
const be = (wanted, ...pages) => {
  const begins = wanted === 'disconnected' ? /^(disconnected|wait)$/ : new RegExp(`^${wanted}`)
  const look = async page => (await state(page)).replace(begins, wanted).replace(/AfterWait$/, '')
  return all('the state', pages, look, wanted)
}
const show = (pages, list, texts) => all(`the tasks of ${list}`, pages, tasks(list), texts)
const showNotes = (pages, texts) => all('the notes', pages, notes, texts.toSorted())

const repeated = items => items.filter((item, index) => items.indexOf(item) !== index)
const byId = entries => entries.map(([, { id }]) => id).sort()

/** What the server's log has of Anna's lists: all that a new browser of hers is sent. */
async function logOf(browser, server) {
  const person = await Person.arrive(browser, server, 'anna')
  const page = await person.openTab()
  const subscribe = ['home', 'work'].map(list => ({
    channel: `lists/${list}`,
    type: 'logux/subscribe'
  }))
  await until('subscriptions to the log', await sync(page, ...subscribe), [
    'processed',
    'processed'
  ])
  const entries = await page.evaluate(async () => {
    const entries = []
    await client.log.each((action, { id }) => {
      if (action.type.startsWith('tasks/')) entries.push([action, { id }])
    })
    return entries
  })
  await person.leave()
  return entries
}

/** The pages show what the log says, and the journal has each task of the log once. */
async function agree(browser, server, list, pages) {
  const entries = await logOf(browser, server)
  const texts = tasksOf(list, entries).map(({ text }) => text)
  await show(pages, list, texts)
  const additions = entries.filter(([action]) => action.type === 'tasks/add')
  const journal = await server.journal()
  assert.deepEqual(repeated(journal.map(([, { id }]) => id)), [], 'written to the journal twice')
  assert.deepEqual(byId(journal), byId(additions), 'the journal is not what the log says')
  assert.deepEqual(
    repeated(additions.map(([{ list, text }]) => `${list}: ${text}`)),
    [],
    'twice in the log'
  )
  return texts
}

/** Numbers from 0 up to `limit`, the same ones for the same seed. */
function numbers(seed) {
  let state = seed >>> 0
  return limit => {
    // The generator of Park and Miller.
    state = (state * 48_271) % 0x7fffffff
    return state % limit
  }
}

async function logIn(browser, server) {
  const anna = await Person.arrive(browser, server, 'anna')

  step('a wrong token is refused, and nothing is synchronized')
  const page = await anna.openTab('secret-of-bert')
  await be('wrongCredentials', page)
  assert.deepEqual(anna.heard('"sync"'), [], 'told to whom the token does not let in')
  assert.deepEqual(anna.heard('"connected"'), [], 'let in with a wrong token')

  step('with the right one, the page is subscribed and synchronized')
  await page.getByLabel('User').fill('anna')
  await page.getByLabel('Token').fill('secret-of-anna')
  await page.getByRole('button', { name: 'Log in' }).click()
  await be('synchronized', page)
  const channels = () =>
    page.evaluate(() =>
      Object.keys(client.subscriptions)
        .map(json => JSON.parse(json).channel)
        .sort()
    )
  await until('the subscriptions', channels, ['lists/home', 'lists/work', 'notes'])
  assert.deepEqual(await refusals(page), [], 'refused with the right token')
  return [anna, page]
}

async function addAndRefuse(anna, page) {
  step('a task is on the screen before the server knows of it; its promise waits for the server')
  anna.goOffline()
  await be('disconnected', page)
  await add(page, 'home', 'Water the plants')
  const outcome = await sync(page, task('home', 'Feed the cat'))
  await show([page], 'home', ['Water the plants', 'Feed the cat'])
  await until('what waits', () => waiting('home')(page), ['Water the plants', 'Feed the cat'])
  assert.deepEqual(await outcome(), ['none'], 'settled without a connection')
  anna.goOnline()
  await until('the promise', outcome, ['processed'])
  await until('what waits', () => waiting('home')(page), [])
  await finish(page, 'home', 'Feed the cat')
  await show([page], 'home', ['Water the plants'])
  await be('synchronized', page)

  step('a refused task disappears, with a reason, and so does its promise')
  anna.goOffline()
  await be('disconnected', page)
  await add(page, 'home', ' ')
  const refused = await sync(page, task('home', TOO_LONG))
  await show([page], 'home', ['Water the plants', ' ', TOO_LONG])
  anna.goOnline()
  // What waits in a queue with a refused event was made by a client that believed it done.
  await until('the promise', refused, ['undone: error'])
  await show([page], 'home', ['Water the plants'])
  await until('the refusals', () => refusals(page), [
    `error: tasks/add ${TOO_LONG}`,
    'wrongText: tasks/add  '
  ])
  await until('the promise', await sync(page, task('home', TOO_LONG)), ['undone: wrongText'])
  await show([page], 'home', ['Water the plants'])
}

async function keepOut(browser, server, anna, annaPage) {
  step('who is no member neither sees a list nor adds to it')
  const bert = await Person.arrive(browser, server, 'bert')
  const page = await bert.openTab()
  await until('the refusals', () => refusals(page), ['denied: logux/subscribe lists/home'])
  await add(page, 'home', 'Bert was here')
  await until('the refusals', () => refusals(page), [
    'denied: tasks/add Bert was here',
    'denied: logux/subscribe lists/home'
  ])
  const subscribe = { channel: 'lists/home', type: 'logux/subscribe' }
  for (const action of [subscribe, task('home', 'Bert again'), task('garden', 'No such list')]) {
    await until('the promise', await sync(page, action), ['undone: denied'])
  }
  await show([page], 'home', [])
  await add(page, 'work', 'Call the bank')
  await show([annaPage, page], 'work', ['Call the bank'])
  await show([annaPage], 'home', ['Water the plants'])
  for (const text of ['Bert was here', 'Bert again', 'No such list']) {
    assert.deepEqual(anna.heard(text), [], 'Anna was told of it')
  }
  assert.deepEqual(bert.heard('plants'), [], 'Bert was told what is in a list of others')
  const entries = await logOf(browser, server)
  assert.deepEqual(
    tasksOf('home', entries).map(({ text }) => text),
    ['Water the plants']
  )

  step('what nobody handles is undone')
  await until('the promise', await sync(page, { channel: 'nowhere', type: 'logux/subscribe' }), [
    'undone: wrongChannel'
  ])
  await until('the promise', await sync(page, { list: 'work', type: 'tasks/rename' }), [
    'undone: unknownType'
  ])
  await until('the promise', await sync(page, { list: 7, text: 'x', type: 'tasks/add' }), [
    'undone: wrongFormat'
  ])
  return [bert, page]
}

async function editApart(browser, server, people, pages) {
  const [anna, bert] = people
  const [annaPage, bertPage] = pages

  step('both edit without a connection, and have the same afterwards')
  await add(annaPage, 'work', 'Buy stamps')
  await add(annaPage, 'work', 'Write to Carl')
  await show(pages, 'work', ['Call the bank', 'Buy stamps', 'Write to Carl'])
  for (const person of people) person.goOffline()
  await be('disconnected', ...pages)
  await add(annaPage, 'work', 'By Anna')
  await finish(annaPage, 'work', 'Call the bank')
  await finish(annaPage, 'work', 'Buy stamps')
  await add(bertPage, 'work', 'By Bert')
  await finish(bertPage, 'work', 'Buy stamps')
  await finish(bertPage, 'work', 'Write to Carl')
  await show([annaPage], 'work', ['Write to Carl', 'By Anna'])
  await show([bertPage], 'work', ['Call the bank', 'By Bert'])
  for (const person of people) person.goOnline()
  await show(pages, 'work', ['By Anna', 'By Bert'])
  await be('synchronized', ...pages)
  await agree(browser, server, 'work', pages)

  step('a page that is reloaded without a connection, and another tab, have what waits')
  anna.goOffline()
  await be('disconnected', annaPage)
  await add(annaPage, 'work', 'Before the reload')
  const edited = ['By Anna', 'By Bert', 'Before the reload']
  await show([annaPage], 'work', edited)
  await annaPage.reload()
  await show([annaPage], 'work', edited)
  const tab = await anna.openTab()
  await show([tab], 'work', edited)
  await add(tab, 'work', 'In another tab')
  await finish(annaPage, 'work', 'By Anna')
  await show([annaPage, tab], 'work', ['By Bert', 'Before the reload', 'In another tab'])
  assert.deepEqual(await waiting('work')(tab), ['Before the reload', 'In another tab'])
  await show([bertPage], 'work', ['By Anna', 'By Bert'])
  anna.goOnline()
  await be('synchronized', annaPage, tab)
  await show([annaPage, tab, bertPage], 'work', ['By Bert', 'Before the reload', 'In another tab'])
  await until('what waits', () => waiting('work')(tab), [])
  await agree(browser, server, 'work', [annaPage, tab, bertPage])
  return tab
}

const ROUNDS = 10
const BURST = 30

async function killServer(browser, server, pages) {
  const seed = Number(process.env.SEED ?? Math.trunc(Math.random() * 1_000_000) + 1)
  step(`the server is killed in the middle of its work, ${ROUNDS} times (SEED=${seed})`)
  const random = numbers(seed)
  const [annaPage, bertPage] = pages
  let cutShort = 0
  for (let round = 1; round <= ROUNDS; round += 1) {
    await be('synchronized', ...pages)
    const written = (await server.journal()).length
    const burst = Array.from({ length: BURST }, (_, index) => task('work', `${round}-${index}`))
    const half = BURST / 2
    const outcomes = [
      await sync(annaPage, ...burst.slice(0, half)),
      await sync(bertPage, ...burst.slice(half))
    ]
    const moment = written + random(BURST)
    while ((await server.journal()).length < moment);
    await server.kill()
    if ((await server.journal()).length < written + BURST) cutShort += 1
    await server.start()
    const processed = burst.slice(half).map(() => 'processed')
    for (const outcome of outcomes)
      await until(`the promises of round ${round}`, outcome, processed)
    await agree(browser, server, 'work', pages)
  }
  assert.ok(cutShort > 0, 'the server was never killed before its work was done')
  console.log(`  ${cutShort} times with work left`)
}

async function keepNotes(browser, server, people, pages) {
  const [anna, bert] = people
  const [annaPage, bertPage] = pages

  step('notes (SyncMap) are created, changed and deleted, and all see it')
  await add(annaPage, 'notes', 'The key is under the mat')
  await add(bertPage, 'notes', 'The door sticks')
  await showNotes(pages, ['The key is under the mat', 'The door sticks'])
  await changeNote(bertPage, 'The key is under the mat', 'Anna has the key')
  await showNotes(pages, ['Anna has the key', 'The door sticks'])
  await (await note(annaPage, 'The door sticks')).getByRole('button').click()
  await showNotes(pages, ['Anna has the key'])
  await add(annaPage, 'notes', 'Code 1234')
  await showNotes(pages, ['Anna has the key', 'Code 1234'])

  step('another browser lists them')
  const carl = await Person.arrive(browser, server, 'bert')
  const carlPage = await carl.openTab()
  await showNotes([carlPage], ['Anna has the key', 'Code 1234'])

  step('of two changes without a connection the later one wins, whichever comes first')
  for (const [first, second] of [
    [anna, bert],
    [bert, anna]
  ]) {
    const last = first === anna ? '1' : '2'
    for (const person of people) person.goOffline()
    await be('disconnected', ...pages)
    const [earlier, later] = first === anna ? pages : [bertPage, annaPage]
    const [key] = (await notes(annaPage)).filter(
      text => text.endsWith('key') || text.startsWith('later')
    )
    await changeNote(earlier, key, `earlier ${last}`)
    // More than the clocks of two pages differ, as each finds out by how long an answer takes.
    const changed = Date.now()
    await until('two seconds', () => Date.now() > changed + 2_000, true)
    await changeNote(later, key, `later ${last}`)
    // In this round the later one comes first, in the other last.
    second.goOnline()
    await showNotes([carlPage], [`later ${last}`, 'Code 1234'])
    first.goOnline()
    await be('synchronized', ...pages)
    await showNotes([...pages, carlPage], [`later ${last}`, 'Code 1234'])
  }

  step('a refused note is undone, and a refused change')
  await changeNote(annaPage, 'Code 1234', TOO_LONG)
  await until(
    'the refusals',
    async () => (await refusals(annaPage))[0],
    `wrongText: notes/change ${TOO_LONG}`
  )
  await showNotes([annaPage], ['later 2', 'Code 1234'])
  await add(annaPage, 'notes', TOO_LONG)
  await until(
    'the refusals',
    async () => (await refusals(annaPage))[0],
    `wrongText: notes/create ${TOO_LONG}`
  )
  await showNotes([...pages, carlPage], ['later 2', 'Code 1234'])
  for (const person of [bert, carl])
    assert.deepEqual(person.heard(TOO_LONG), [], 'Bert was told of it')

  step('who was away learns that a note was deleted')
  bert.goOffline()
  await be('disconnected', bertPage)
  await (await note(annaPage, 'later 2')).getByRole('button').click()
  await showNotes([annaPage, carlPage], ['Code 1234'])
  await showNotes([bertPage], ['later 2', 'Code 1234'])
  bert.goOnline()
  await showNotes([bertPage], ['Code 1234'])
  await carl.leave()
}

async function takePictures(browser, server, page) {
  await page.screenshot({ fullPage: true, path: join(folder, 'todo-example.png') })
  const phone = await Person.arrive(browser, server, 'bert', { height: 800, width: 390 })
  const onPhone = await phone.openTab()
  await be('synchronized', onPhone)
  await onPhone.emulateMedia({ colorScheme: 'dark' })
  await onPhone.screenshot({ fullPage: true, path: join(folder, 'todo-example-phone.png') })
  await phone.leave()
  console.log(`  ${join(folder, 'todo-example.png')}, todo-example-phone.png`)
}

const home = await mkdtemp(join(tmpdir(), 'todo-'))
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
  const server = new Server(join(home, 'todo.db'))
  await server.start()
  const [anna, annaPage] = await logIn(browser, server)
  await addAndRefuse(anna, annaPage)
  const [bert, bertPage] = await keepOut(browser, server, anna, annaPage)
  const people = [anna, bert]
  const pages = [annaPage, bertPage]
  const tab = await editApart(browser, server, people, pages)
  await keepNotes(browser, server, people, pages)
  await takePictures(browser, server, annaPage)
  await killServer(browser, server, pages)
  await agree(browser, server, 'work', [...pages, tab])
  await showNotes([...pages, tab], ['Code 1234'])
  for (const person of people) await person.leave()
  await server.stop()
  console.log(`${steps} passed, 0 failed`)
} finally {
  await browser.close()
  await rm(home, { recursive: true })
}
process.exit()
