/**
 * Logux over HTTP long-poll, where WebSocket is blocked: a connection of `@logux/core` over `fetch`.
 *
 *     import { Client } from '@logux/client'
 *     import { Reconnect } from '@logux/core'
 *
 *     const server = new Reconnect(new LongPollConnection('https://example.com/'))
 *     const client = new Client({ server, subprotocol: 1, userId: '10' })
 *
 * The server is an `HttpListener` of logux-sync. The numbers refer to the protocol's text,
 * `transports/LONG_POLL.md`. This file needs nothing but a browser, or Node.js 20.
 */

const MEDIA_TYPE = 'application/vnd.logux.batch+json'

/** The version of the protocol (4). A server that names none speaks the first. */
const VERSION = 2

/** What a body has at most, in frames and in bytes; and how many bytes tell a frame's length. */
const MAX_FRAMES = 1000
const MAX_BATCH = 256 * 1024
const PREFIX = 4

/** How many bytes a browser sends for a page that is gone: 64 KiB, of all its requests. */
const MAX_LAST = 48 * 1024

/** How long an answer may take, besides the time that the server may hold it; all times in ms. */
const PATIENCE = 10_000
/** The first and the longest pause before something is tried again. */
const MIN_DELAY = 100
const MAX_DELAY = 5_000
/** Where polls break, the server is asked to hold them for less, but not for less than this. */
const MIN_WAIT = 5_000

/** What a server, or a proxy, answers that asks to try again (8). */
const PASSING = [408, 421, 425, 429, 502, 503, 504]

/** After the last frame comes the end, which is numbered like one (1.1). */
const END = Symbol('end')

/**
 * What `@logux/core` asks of a connection. Its events:
 * - `connecting`: the server is asked for a session;
 * - `connect`: there is one;
 * - `message`, with the message;
 * - `error`, with an `Error`: one side is at fault. It is no error that the server is not reached, or
 *   does not know the session any more, as one that was started anew;
 * - `disconnect`, with a reason, if there is one: the session is no more, or could not be opened.
 *
 * Requests that are lost are repeated, unnoticed, as long as the server keeps the session. When the
 * page is left, the session ends; if the browser brings the page back, `Reconnect` opens another.
 */
export class LongPollConnection {
  /** Whether messages can be sent. */
  connected = false
  emitter = new Emitter()

  #address
  #fetch
  #session
  /** Of a session that the server may have opened without our knowing (4). */
  #nonce
  #leave = () => this.disconnect('freeze')

  /**
   * @param {string} address Of the server: `https:` or `http:`; that of a WebSocket is taken, too.
   * @param {{ fetch?: typeof fetch }} [options] A `fetch` of one's own.
   */
  constructor(address, { fetch = globalThis.fetch.bind(globalThis) } = {}) {
    this.#address = String(address).replace(/^ws/, 'http')
    this.#fetch = fetch
  }

  /**
   * Opens a session, unless there is one.
   *
   * @returns {Promise<void>} Until it is there, or could not be opened: `connected` tells.
   */
  async connect() {
    if (this.#session) return
    const session = new Session(this.#address, this.#fetch, error => this.#lose(session, error))
    this.#session = session
    // Node.js has no pages.
    globalThis.addEventListener?.('pagehide', this.#leave)
    this.emitter.emit('connecting')
    this.#nonce ??= randomNonce()
    try {
      await session.open(this.#nonce)
    } catch (error) {
      this.#lose(session, error)
      return
    }
    this.#nonce = undefined
    this.connected = true
    session.receive(frame => this.#take(session, frame))
    this.emitter.emit('connect')
  }

  /**
   * Ends the session. What was sent before still goes out, in the background; nothing comes in.
   *
   * @param {string} [reason] For the listeners of `disconnect`.
   */
  disconnect(reason) {
    const session = this.#session
    if (!session) return
    this.#session = undefined
    this.connected = false
    globalThis.removeEventListener?.('pagehide', this.#leave)
    session.close()
    this.emitter.emit('disconnect', reason)
  }

  /**
   * Listens to an event.
   *
   * @returns {() => void} Ends that.
   */
  on(event, listener) {
    return this.emitter.on(event, listener)
  }

  /**
   * Sends a message, in the order of the calls.
   *
   * @throws {Error} If there is no session, or the message is longer than what the server takes.
   */
  send(message) {
    if (!this.connected) throw new Error('There is no connection to send by')
    this.#session.send(new TextEncoder().encode(JSON.stringify(message)))
  }

  /** Each message has a turn of its own: a listener that throws keeps no other from it. */
  #take(session, frame) {
    queueMicrotask(() => {
      if (session !== this.#session) return
      const text = new TextDecoder().decode(frame)
      let message
      try {
        message = JSON.parse(text)
      } catch {
        // By this text, `@logux/core` knows that it is to tell the server.
        const error = new Error('Wrong message format')
        error.received = text
        this.emitter.emit('error', error)
        return
      }
      this.emitter.emit('message', message)
    })
  }

  /** The session is no more, in order if there is no error. */
  #lose(session, error) {
    session.abandon()
    const isForgotten = this.connected && error?.status === 404
    const isError = error && !isForgotten && !(error instanceof NotReached)
    queueMicrotask(() => {
      if (session !== this.#session) return
      try {
        if (isError) this.emitter.emit('error', error)
      } finally {
        if (session === this.#session) this.disconnect(error?.message)
      }
    })
  }
}

/** Frames, both ways, over requests that may be lost, cut, repeated or late. */
class Session {
  #address
  #fetch
  /** Called once, with the error if there was one. */
  #lost
  #id
  #wait
  #inactivity
  #maxBody
  /** The number of the last poll. */
  #polls = 0
  /** The number of the last frame, or end, that came in. */
  #received = 0
  /** The number of the last that went out and was acknowledged; and all those after it. */
  #acknowledged = 0
  #outbox = []
  #isDelivering = false
  #isAbandoned = false
  #closing = new AbortController()

  constructor(address, fetch, lost) {
    this.#address = address
    this.#fetch = fetch
    this.#lost = lost
  }

  /** Asks for the session of a nonce (4). */
  async open(nonce) {
    const opening = { 'Logux-Nonce': nonce, 'Logux-Version': VERSION }
    const { headers } = await this.#ask(opening, { signal: this.#closing.signal })
    this.#closing.signal.throwIfAborted()
    this.#id = headers.get('Logux-Session')
    const version = headers.has('Logux-Version') ? number(headers, 'Logux-Version') : 1
    if (this.#id && version !== VERSION && version !== undefined) {
      throw new Error(
        `The server speaks version ${version} of long-poll, and this client version ${VERSION}; ` +
          'update the older of the two sides'
      )
    }
    this.#wait = number(headers, 'Logux-Wait')
    this.#inactivity = number(headers, 'Logux-Inactivity')
    this.#maxBody = number(headers, 'Logux-Max-Body')
    if (!this.#id || [version, this.#wait, this.#inactivity, this.#maxBody].includes(undefined)) {
      throw new Error('The server does not answer as one of long-poll does')
    }
  }

  send(frame) {
    const most = this.#maxBody - PREFIX
    if (frame.length > most) {
      throw new Error(`The message has ${frame.length} bytes, and the server takes ${most} at most`)
    }
    this.#outbox.push(frame)
    this.#deliver()
  }

  /** Sends what waits, and the end (7.1); nothing comes in any more. */
  close() {
    this.#closing.abort()
    if (!this.#id) return
    this.#outbox.push(END)
    this.#deliver()
  }

  /** Forgets it: there is nobody to talk to. */
  abandon() {
    this.#isAbandoned = true
    this.#closing.abort()
  }

  /** Gives the frames that come, until the link ends (6). */
  async receive(take) {
    try {
      await this.#poll(take)
      if (!this.#closing.signal.aborted) this.#lost()
    } catch (error) {
      this.#lost(error)
    }
  }

  async #poll(take) {
    const trouble = new Trouble(this.#inactivity)
    let wait = this.#wait
    let broken = 0
    for (;;) {
      // Without a pause the next poll leaves before the messages of the last one are worked on.
      if (trouble.delay > 0) await pause(trouble.delay)
      const start = performance.now()
      let answer
      try {
        const headers = { 'Logux-Poll': `${++this.#polls} ${this.#received} ${wait}` }
        answer = await this.#ask(headers, { hold: wait, signal: this.#closing.signal })
      } catch (error) {
        if (this.#closing.signal.aborted) return
        const passed = performance.now() - start
        const isEarly = passed < wait
        if (isEarly && ++broken % 3 === 0) {
          wait = Math.max(Math.floor(wait / 2), Math.min(MIN_WAIT, this.#wait))
        }
        // Of one that was held, the server has known all the time that somebody asks.
        trouble.fail(error, isEarly ? passed : 0)
        continue
      }
      broken = 0
      const { frames, state } = this.#accept(answer)
      frames.forEach(take)
      if (state === 'closed') {
        // Lets the server forget the session (7.2). The link has ended, whatever it answers.
        this.#ask({ 'Logux-Send': `${this.#received}` }).catch(() => {})
        return
      }
      // Something repeats polls, or holds none: that is no reason to ask without a pause.
      const isHasty = frames.length === 0 && performance.now() - start < MIN_DELAY
      trouble.over(state === 'superseded' || isHasty ? MIN_DELAY : 0)
    }
  }

  /** Takes those frames of an answer that are next. */
  #accept({ body, headers }) {
    const { first, state } = told(headers)
    const frames = split(body)
    const count = frames.length + (state === 'closed')
    if (count === 0) return { frames, state }
    if (first === undefined || first > this.#received + 1) {
      throw new Error('The server left out a message')
    }
    const known = this.#received + 1 - first
    this.#received = Math.max(this.#received, first + count - 1)
    return { frames: frames.slice(known), state }
  }

  /** Posts what waits until all of it is acknowledged, one request at a time (5). */
  async #deliver() {
    if (this.#isDelivering) return
    this.#isDelivering = true
    const trouble = new Trouble(this.#inactivity)
    try {
      // All that is sent at once goes in one request.
      await undefined
      while (this.#outbox.length > 0 && !this.#isAbandoned) {
        if (trouble.delay > 0) await pause(trouble.delay)
        const { body, ends } = this.#batch()
        const numbers = `${this.#received} ${this.#acknowledged + 1}`
        const headers = { 'Logux-Send': ends ? `${numbers} end` : numbers }
        try {
          // The page may be gone in a moment. Where a browser cannot do that, it is tried without.
          const keepalive = ends && !trouble.isThere && body.length <= MAX_LAST
          const answer = await this.#ask(headers, { body, hold: this.#wait, keepalive })
          // A server that has no room yet takes nothing.
          trouble.over(this.#acknowledge(told(answer.headers).ack) ? 0 : MIN_DELAY)
        } catch (error) {
          trouble.fail(error)
        }
      }
    } catch (error) {
      this.#lost(error)
    }
    this.#isDelivering = false
  }

  /** A body of the first frames that wait, as many as fit, and whether the end is next. */
  #batch() {
    const most = Math.min(MAX_BATCH, this.#maxBody)
    let [count, length] = [0, 0]
    for (const frame of this.#outbox.slice(0, MAX_FRAMES)) {
      if (frame === END || (count > 0 && length + PREFIX + frame.length > most)) break
      count += 1
      length += PREFIX + frame.length
    }
    const body = new Uint8Array(length)
    const view = new DataView(body.buffer)
    let at = 0
    for (const frame of this.#outbox.slice(0, count)) {
      view.setUint32(at, frame.length)
      body.set(frame, at + PREFIX)
      at += PREFIX + frame.length
    }
    return { body, ends: this.#outbox[count] === END }
  }

  /** Forgets what was acknowledged, and tells whether that was something. */
  #acknowledge(last) {
    if (last > this.#acknowledged + this.#outbox.length) {
      throw new Error('The server acknowledges what was never sent')
    }
    const count = Math.max(last - this.#acknowledged, 0)
    this.#outbox.splice(0, count)
    this.#acknowledged += count
    return count > 0
  }

  /**
   * One request, and its whole answer, which is one of success; `hold` is how long the server may
   * hold it.
   */
  async #ask(headers, { body, hold = 0, keepalive = false, signal } = {}) {
    signal?.throwIfAborted()
    const limit = hold + PATIENCE
    const controller = new AbortController()
    const stop = () => controller.abort(signal.reason)
    signal?.addEventListener('abort', stop)
    const timer = setTimeout(() => {
      controller.abort(new Error(`no answer within ${limit} ms`))
    }, limit)
    const known = this.#id && { 'Logux-Session': this.#id }
    let answer
    let received
    try {
      answer = await this.#fetch(this.#address, {
        body,
        // Cookies, as a WebSocket sends them (9).
        credentials: 'include',
        headers: { 'Content-Type': MEDIA_TYPE, ...known, ...headers },
        keepalive,
        method: 'POST',
        signal: controller.signal
      })
      received = await answer.arrayBuffer()
    } catch (cause) {
      throw new NotReached(`The server was not reached: ${cause.message}`, { cause })
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', stop)
    }
    if (answer.ok) return { body: received, headers: answer.headers }
    const { status } = answer
    const text = new TextDecoder().decode(received).trim().slice(0, 200)
    const Refused = PASSING.includes(status) ? NotReached : Error
    throw Object.assign(new Refused(`The server answers ${status}: ${text}`), { status })
  }
}

/** Something was in the way; it may pass. */
class NotReached extends Error {}

/** What has not gone well since something last did. */
class Trouble {
  /** How long to wait before the next request. */
  delay = 0

  #limit
  #failures = 0
  #since

  /** It may last for `limit`: for so long the server keeps the session (7.4). */
  constructor(limit) {
    this.#limit = limit
  }

  get isThere() {
    return this.#failures > 0
  }

  /** Something went well; the next may follow after `delay`. */
  over(delay) {
    this.delay = delay
    this.#failures = 0
    this.#since = undefined
  }

  /** Throws the error, if it is the last; a time in which the server knew of us does not count. */
  fail(error, heard = 0) {
    const now = performance.now()
    this.#since = this.#since === undefined ? now : this.#since + heard
    const isOver = now - this.#since >= this.#limit
    if (isOver || !(error instanceof NotReached)) throw error
    // The first time at once: what is most likely is that a connection was kept too long.
    this.delay = this.#failures && Math.min(MIN_DELAY * 2 ** (this.#failures - 1), MAX_DELAY)
    this.#failures += 1
  }
}

function pause(time) {
  return new Promise(resolve => setTimeout(resolve, time))
}

/** Events, in the way of the package `nanoevents`. */
class Emitter {
  #listeners = {}

  emit(event, ...details) {
    for (const listener of this.#listeners[event] ?? []) listener(...details)
  }

  on(event, listener) {
    this.#listeners[event] = [...(this.#listeners[event] ?? []), listener]
    return () => {
      this.#listeners[event] = this.#listeners[event].filter(other => other !== listener)
    }
  }
}

/** The frames of a body, each after its length (2). */
function split(body) {
  const view = new DataView(body)
  const frames = []
  try {
    for (let at = 0; at < body.byteLength; ) {
      const frame = new Uint8Array(body, at + PREFIX, view.getUint32(at))
      frames.push(frame)
      at += PREFIX + frame.length
    }
  } catch (cause) {
    throw new Error("The server's answer is no row of messages", { cause })
  }
  return frames
}

/** What an answer of a session tells: its state, an acknowledgement and maybe a first number (3). */
function told(headers) {
  const [state, ...numbers] = (headers.get('Logux-Answer') ?? '').split(' ')
  const [ack, first] = numbers.map(parse)
  const isKnown = ['open', 'superseded', 'closed'].includes(state)
  const isWhole = numbers.length === 1 || (numbers.length === 2 && first > 0)
  if (!isKnown || !isWhole || ack === undefined) {
    throw new Error('The server does not tell the state of the session')
  }
  return { ack, first, state }
}

function number(headers, name) {
  return parse(headers.get(name) ?? '')
}

/** A number in its one spelling (3). */
function parse(text) {
  const value = Number(text)
  return /^(0|[1-9]\d*)$/.test(text) && Number.isSafeInteger(value) ? value : undefined
}

/** 16 random bytes in base64url (3). */
function randomNonce() {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  const text = btoa(String.fromCharCode(...bytes))
  return text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}
