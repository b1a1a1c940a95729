// What `LongPollConnection` asks, request by request, and what it makes of answers that no server of
// ours gives.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'

import { LongPollConnection } from '../../examples/web/long-poll-connection.js'

let OPENED = { Inactivity: 300, 'Max-Body': 65536, Session: 'id', Version: 2, Wait: 200 }
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
          let set = Object.entries(named).filter(([, value]) => value !== undefined)
          let entries = set.map(([name, value]) => [`Logux-${name}`, value])
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
  assert.equal(first.headers['Logux-Version'], 2)
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
  assert.deepEqual(poll.headers, {
    'Content-Type': 'application/vnd.logux.batch+json',
    'Logux-Poll': '1 0 200',
    'Logux-Session': 'id'
  })
  poll.answer({ Answer: 'open 0 1' }, ['a', 'b'])
  poll = await rig.next()
  assert.equal(poll.headers['Logux-Poll'], '2 2 200')
  poll.answer({ Answer: 'open 0 2' }, ['b', 'c'])
  poll = await rig.next()
  assert.equal(poll.headers['Logux-Poll'], '3 3 200')
  await rig.tells(['connecting'], ['connect'], ['message', 'a'], ['message', 'b'], ['message', 'c'])
  poll.answer({ Answer: 'open 0 5' }, ['e'])
  let reason = 'The server left out a message'
  await rig.tells(['error', reason], ['disconnect', reason])
})

test('what is sent goes out again until it is acknowledged, one request at a time', async () => {
  let rig = await Rig.open()
  await rig.next()
  rig.connection.send('a')
  rig.connection.send('b')
  let request = await rig.next()
  assert.deepEqual(request.headers, {
    'Content-Type': 'application/vnd.logux.batch+json',
    'Logux-Send': '0 1',
    'Logux-Session': 'id'
  })
  assert.deepEqual(request.body, ['a', 'b'])
  rig.connection.send('c')
  request.answer({ Answer: 'open 1' })
  request = await rig.next()
  assert.deepEqual([request.headers['Logux-Send'], request.body], ['0 2', ['b', 'c']])
  request.lose()
  request = await rig.next()
  assert.deepEqual([request.headers['Logux-Send'], request.body], ['0 2', ['b', 'c']])
  rig.connection.disconnect('destroy')
  request.answer({ Answer: 'open 3' })
  request = await rig.next()
  assert.deepEqual([request.headers['Logux-Send'], request.body], ['0 4 end', []])
  request.answer({ Answer: 'open 4' })
  await rig.tells(['connecting'], ['connect'], ['disconnect', 'destroy'])
})

test('the end of the server is acknowledged', async () => {
  let rig = await Rig.open()
  let poll = await rig.next()
  poll.answer({ Answer: 'closed 0 1' }, ['a'])
  let last = await rig.next()
  assert.deepEqual([last.headers['Logux-Send'], last.headers['Logux-Poll']], ['2', undefined])
  await rig.tells(['connecting'], ['connect'], ['message', 'a'], ['disconnect'])
})

test('a poll that another took the place of is asked again, after a moment', async () => {
  let rig = await Rig.open()
  let poll = await rig.next()
  let start = performance.now()
  poll.answer({ Answer: 'superseded 0' })
  poll = await rig.next()
  assert.ok(performance.now() - start > 90)
  assert.equal(rig.connection.connected, true)
})

test('who leaves during a pause polls no more', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let rig = await Rig.open()
  let poll = await rig.next()
  poll.answer({ Answer: 'superseded 0' })
  await new Promise(setImmediate)
  rig.connection.disconnect('destroy')
  let end = await rig.next()
  assert.equal(end.headers['Logux-Send'], '0 1 end')
  t.mock.timers.tick(100)
  await new Promise(setImmediate)
  assert.equal(rig.waiting, 0)
})

test('where polls break, the server is asked to hold them for less', async () => {
  let rig = await Rig.open({ Inactivity: 30_000, Wait: 20_000 })
  let waits = []
  for (let poll = 0; poll < 4; poll += 1) {
    let request = await rig.next()
    waits.push(request.headers['Logux-Poll'])
    request.lose()
  }
  assert.deepEqual(waits, ['1 0 20000', '2 0 20000', '3 0 20000', '4 0 10000'])
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
  poll.answer({ Answer: 'open 0 1' }, ['a', Buffer.from('{'), 'b'])
  let messages = [['message', 'a'], ['error', 'Wrong message format'], ['message', 'b']]
  await rig.tells(['connecting'], ['connect'], ...messages)
})

test('an answer of no server of ours is an error', async () => {
  let reason = 'The server does not answer as one of long-poll does'
  for (let other of [{ Wait: '025' }, { Version: '2.0' }, { Session: undefined, Version: 1 }]) {
    let rig = new Rig()
    rig.connection.connect()
    let request = await rig.next()
    request.answer({ ...OPENED, ...other })
    await rig.tells(['connecting'], ['error', reason], ['disconnect', reason])
    assert.throws(() => rig.connection.send('a'), /no connection/)
  }
})

test('a server of another version is told of, by both versions', async () => {
  for (let [other, version] of [[{ Version: undefined }, 1], [{ Version: 3, Wait: undefined }, 3]]) {
    let rig = new Rig()
    rig.connection.connect()
    let request = await rig.next()
    request.answer({ ...OPENED, ...other })
    let reason =
      `The server speaks version ${version} of long-poll, and this client version 2; ` +
      'update the older of the two sides'
    await rig.tells(['connecting'], ['error', reason], ['disconnect', reason])
    // There is no session to end.
    assert.equal(rig.waiting, 0)
  }
})

test('an answer in a session that does not tell its state is an error', async () => {
  let reason = 'The server does not tell the state of the session'
  let wrong = ['', 'open', 'OPEN 0', 'open  0', 'open 00', 'open 0 -1', 'open 0 1 2']
  for (let told of [...wrong, 'open 9007199254740992', 'open 0, open 0']) {
    let rig = await Rig.open()
    let poll = await rig.next()
    poll.answer({ Answer: told })
    await rig.tells(['connecting'], ['connect'], ['error', reason], ['disconnect', reason])
  }
})

test('a listener that throws keeps the others from nothing', async () => {
  let rig = await Rig.open()
  let thrown = new Promise(resolve => process.setUncaughtExceptionCaptureCallback(resolve))
  let end = rig.connection.on('message', () => {
    end()
    throw new Error('of a listener')
  })
  let poll = await rig.next()
  poll.answer({ Answer: 'open 0 1' }, ['a', 'b'])
  assert.equal((await thrown).message, 'of a listener')
  process.setUncaughtExceptionCaptureCallback(null)
  await rig.tells(['connecting'], ['connect'], ['message', 'a'], ['message', 'b'])
  await rig.next()
})
