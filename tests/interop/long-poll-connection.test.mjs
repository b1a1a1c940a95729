// What `LongPollConnection` asks, request by request, and what it makes of answers that no server of
// ours gives.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'

import { LongPollConnection } from '../../examples/web/long-poll-connection.js'

let OPENED = { Inactivity: 300, 'Max-Body': 65536, Session: 'id', Wait: 200 }
let EVENTS = ['connecting', 'connect', 'message', 'error', 'disconnect']

// Whatever is still asked, or will be, when all tests are done.
let unanswered = new Set()
let isOver = false
after(() => {
  isOver = true
  for (let request of unanswered) request.refuse(404, 'the tests are over')
})

// A connection whose requests the test answers, one after the other, and what it tells.
class Rig {
  told = []
  #requests = []
  #waiting = []

  constructor() {
    this.connection = new LongPollConnection('ws://server/', { fetch: this.#fetch })
    for (let event of EVENTS) {
      this.connection.on(event, detail => {
        this.told.push(detail === undefined ? [event] : [event, detail.message ?? detail])
      })
    }
  }

  static async open(details) {
    let rig = new Rig()
    let connected = rig.connection.connect()
    let request = await rig.next()
    request.answer({ ...OPENED, ...details })
    await connected
    return rig
  }

  #fetch = (url, { body, headers, signal }) =>
    new Promise((resolve, reject) => {
      assert.equal(url, 'http://server/')
      signal.addEventListener('abort', () => reject(signal.reason))
      let request = {
        answer: (named, frames = []) => {
          let entries = Object.entries(named).map(([name, value]) => [`Logux-${name}`, value])
          resolve(new Response(written(frames), { headers: entries }))
        },
        body: body && read(body),
        headers,
        lose: () => reject(new TypeError('lost')),
        refuse: (status, text) => resolve(new Response(text, { status }))
      }
      unanswered.add(request)
      if (isOver) request.refuse(404, 'the tests are over')
      let next = this.#waiting.shift()
      if (next) next(request)
      else this.#requests.push(request)
    })

  // How many requests the test has not looked at.
  get waiting() {
    return this.#requests.length
  }

  next() {
    let request = this.#requests.shift()
    return request ?? new Promise(resolve => this.#waiting.push(resolve))
  }

  async tells(...expected) {
    while (this.told.length < expected.length) await new Promise(setImmediate)
    assert.deepEqual(this.told.splice(0), expected)
  }
}

// A body, of messages or of bytes that are none.
function written(messages) {
  return Buffer.concat(
    messages.flatMap(message => {
      let text = Buffer.isBuffer(message) ? message : Buffer.from(JSON.stringify(message))
      let length = Buffer.alloc(4)
      length.writeUInt32BE(text.length)
      return [length, text]
    })
  )
}

function read(body) {
  let bytes = Buffer.from(body)
  let messages = []
  for (let at = 0; at < bytes.length; at += 4 + bytes.readUInt32BE(at)) {
    messages.push(JSON.parse(bytes.subarray(at + 4, at + 4 + bytes.readUInt32BE(at))))
  }
  return messages
}

test('a session that may have been opened is asked for again by the same nonce', async () => {
  let rig = new Rig()
  rig.connection.connect()
  let first = await rig.next()
  assert.match(first.headers['Logux-Nonce'], /^[\w-]{22}$/)
  assert.equal(first.headers['Content-Type'], 'application/vnd.logux.batch+json')
  first.lose()
  await rig.tells(['connecting'], ['disconnect', 'The server was not reached: lost'])
  rig.connection.connect()
  let again = await rig.next()
  assert.deepEqual(again.headers, first.headers)
  again.answer(OPENED)
  await rig.tells(['connecting'], ['connect'])
  rig.connection.disconnect('destroy')
  rig.connection.connect()
  // The poll and the end of the last one, and a new one.
  let requests = [await rig.next(), await rig.next(), await rig.next()]
  let nonces = requests.flatMap(({ headers }) => headers['Logux-Nonce'] ?? [])
  assert.equal(nonces.length, 1)
  assert.notEqual(nonces[0], first.headers['Logux-Nonce'])
})

test('messages are taken once, in order, and acknowledged by the next poll', async () => {
  let rig = await Rig.open()
  let poll = await rig.next()
  let { 'Logux-Ack': ack, 'Logux-Poll': flag, 'Logux-Session': id } = poll.headers
  assert.deepEqual([ack, flag, id], [0, 1, 'id'])
  poll.answer({ Ack: 0, First: 1, State: 'open' }, ['a', 'b'])
  poll = await rig.next()
  assert.equal(poll.headers['Logux-Ack'], 2)
  poll.answer({ Ack: 0, First: 2, State: 'open' }, ['b', 'c'])
  poll = await rig.next()
  assert.equal(poll.headers['Logux-Ack'], 3)
  assert.equal(poll.headers['Logux-Request'], 3)
  await rig.tells(['connecting'], ['connect'], ['message', 'a'], ['message', 'b'], ['message', 'c'])
  poll.answer({ Ack: 0, First: 5, State: 'open' }, ['e'])
  let reason = 'The server left out a message'
  await rig.tells(['error', reason], ['disconnect', reason])
})

test('what is sent goes out again until it is acknowledged, one request at a time', async () => {
  let rig = await Rig.open()
  await rig.next()
  rig.connection.send('a')
  rig.connection.send('b')
  let request = await rig.next()
  assert.deepEqual([request.headers['Logux-First'], request.body], [1, ['a', 'b']])
  rig.connection.send('c')
  request.answer({ Ack: 1, State: 'open' })
  request = await rig.next()
  assert.deepEqual([request.headers['Logux-First'], request.body], [2, ['b', 'c']])
  request.lose()
  request = await rig.next()
  assert.deepEqual([request.headers['Logux-First'], request.body], [2, ['b', 'c']])
  rig.connection.disconnect('destroy')
  request.answer({ Ack: 3, State: 'open' })
  request = await rig.next()
  let { 'Logux-Close': closes, 'Logux-First': first } = request.headers
  assert.deepEqual([closes, first, request.body], [1, 4, []])
  request.answer({ Ack: 4, State: 'open' })
  await rig.tells(['connecting'], ['connect'], ['disconnect', 'destroy'])
})

test('the end of the server is acknowledged', async () => {
  let rig = await Rig.open()
  let poll = await rig.next()
  poll.answer({ Ack: 0, First: 1, State: 'closed' }, ['a'])
  let last = await rig.next()
  assert.deepEqual([last.headers['Logux-Ack'], last.headers['Logux-First']], [2, undefined])
  assert.equal(last.headers['Logux-Poll'], undefined)
  await rig.tells(['connecting'], ['connect'], ['message', 'a'], ['disconnect'])
})

test('a poll that another took the place of is asked again, after a moment', async () => {
  let rig = await Rig.open()
  let poll = await rig.next()
  let start = performance.now()
  poll.answer({ Ack: 0, State: 'superseded' })
  poll = await rig.next()
  assert.ok(performance.now() - start > 90)
  assert.equal(rig.connection.connected, true)
})

test('who leaves during a pause polls no more', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let rig = await Rig.open()
  let poll = await rig.next()
  poll.answer({ Ack: 0, State: 'superseded' })
  await new Promise(setImmediate)
  rig.connection.disconnect('destroy')
  let end = await rig.next()
  assert.equal(end.headers['Logux-Close'], 1)
  t.mock.timers.tick(100)
  await new Promise(setImmediate)
  assert.equal(rig.waiting, 0)
})

test('where polls break, the server is asked to hold them for less', async () => {
  let rig = await Rig.open({ Inactivity: 30_000, Wait: 20_000 })
  let waits = []
  for (let poll = 0; poll < 4; poll += 1) {
    let request = await rig.next()
    waits.push(request.headers['Logux-Wait'])
    request.lose()
  }
  assert.deepEqual(waits, [20_000, 20_000, 20_000, 10_000])
})

test('a server is lost that is away for as long as it keeps sessions', async () => {
  let rig = await Rig.open()
  let start = performance.now()
  let lost = new Promise(resolve => rig.connection.on('disconnect', resolve))
  for (;;) {
    let request = await Promise.race([rig.next(), lost])
    if (!request.refuse) break
    request.refuse(503, 'later')
  }
  assert.ok(performance.now() - start > OPENED.Inactivity)
  await rig.tells(['connecting'], ['connect'], ['disconnect', 'The server answers 503: later'])
})

test('a session that the server does not know is lost, and that is no error', async () => {
  let rig = await Rig.open()
  let poll = await rig.next()
  poll.refuse(404, 'there is no such session')
  let reason = 'The server answers 404: there is no such session'
  await rig.tells(['connecting'], ['connect'], ['disconnect', reason])
})

test('a message that is none is an error that the core tells the server', async () => {
  let rig = await Rig.open()
  let poll = await rig.next()
  poll.answer({ Ack: 0, First: 1, State: 'open' }, ['a', Buffer.from('{'), 'b'])
  let messages = [['message', 'a'], ['error', 'Wrong message format'], ['message', 'b']]
  await rig.tells(['connecting'], ['connect'], ...messages)
})

test('an answer of no server of ours is an error', async () => {
  let reason = 'The server does not answer as one of long-poll does'
  let rig = new Rig()
  rig.connection.connect()
  let request = await rig.next()
  request.answer({ ...OPENED, Wait: '025' })
  await rig.tells(['connecting'], ['error', reason], ['disconnect', reason])
  assert.throws(() => rig.connection.send('a'), /no connection/)
})

test('a listener that throws keeps the others from nothing', async () => {
  let rig = await Rig.open()
  let thrown = new Promise(resolve => process.setUncaughtExceptionCaptureCallback(resolve))
  let end = rig.connection.on('message', () => {
    end()
    throw new Error('of a listener')
  })
  let poll = await rig.next()
  poll.answer({ Ack: 0, First: 1, State: 'open' }, ['a', 'b'])
  assert.equal((await thrown).message, 'of a listener')
  process.setUncaughtExceptionCaptureCallback(null)
  await rig.tells(['connecting'], ['connect'], ['message', 'a'], ['message', 'b'])
  await rig.next()
})
